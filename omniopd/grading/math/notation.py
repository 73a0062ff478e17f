r"""Plain notation: one spelling for each of the many in LaTeX and plain text (`½`, `\dfrac12`, `\tfrac{1}{2}`).

Everything here works on short texts (MAX_CHARS) and takes at worst quadratic time.
"""

import re
import unicodedata
from collections.abc import Iterator

MAX_CHARS = 1000  # of an answer that is parsed; longer ones are compared character by character
_TABLE = str.maketrans(
    {
        "−": "-", "–": "-", "‐": "-", "‑": "-", "﹣": "-", "—": "-",
        "×": r"\cdot ", "·": r"\cdot ", "⋅": r"\cdot ", "∙": r"\cdot ", "÷": "/", "⁄": "/",
        "π": r"\pi ", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "λ": r"\lambda ", "φ": r"\phi ",
        "∞": r"\infty ", "°": r"^{\circ}", "±": r"\pm ", "∓": r"\mp ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ",
        "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∅": r"\emptyset ", "ℝ": r"\mathbb{R}",
        "²": "^{2}", "³": "^{3}", "½": r"\frac{1}{2}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}",
        "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}", "’": "'", "“": '"', "”": '"', "∛": r"\sqrt[3]", "\u200b": "",
    }
)  # fmt: skip
_BRACED = r"\{((?:[^{}]|\{[^{}]*\})*)\}"  # a group in braces with at most one level of groups inside
_REPLACED = [
    (re.compile(pattern), new)
    for pattern, new in [
        (r"(?<![A-Za-z\\.])(?:np|numpy|math)\.(?=[a-z])", ""),
        (r"√\s*([0-9.]+|[A-Za-z])", r"\\sqrt{\1}"),
        (r"√\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"\*\*", "^"),
        (r"\*|\\(?:times|ast)(?![A-Za-z])", r"\\cdot "),
        (r"\\div(?![A-Za-z])", "/"),
        (r"\{,\}|,\\!", ","),
        (r"\\!|\\(?:left|right)\.|\\(?:displaystyle|textstyle|limits|left|right|[bB]igg?[lrm]?)(?![A-Za-z])", ""),
        (r"(\\\\)|\\[,;:> ]|~|\\(?:quad|qquad|enspace|thinspace)(?![A-Za-z])|\s+", r"\1 "),
        (r"\\(?:lbrace|lbrack)(?![A-Za-z])", r"\\{"),
        (r"\\(?:rbrace|rbrack)(?![A-Za-z])", r"\\}"),
        (r"\\[lr]?vert(?![A-Za-z])|\\mid(?![A-Za-z])", "|"),
        (r"\\(?:leq|leqslant)(?![A-Za-z])|<=", r"\\le "),
        (r"\\(?:geq|geqslant)(?![A-Za-z])|>=", r"\\ge "),
        (r"\\neq(?![A-Za-z])|!=", r"\\ne "),
        (r"\\lt(?![A-Za-z])", "<"),
        (r"\\gt(?![A-Za-z])", ">"),
        (r"\+/?-", r"\\pm "),
        (r"\\(?:mathrm|mathit|operatorname|text) ?\{ ?([ei]) ?\}|\{\\rm ([ei])\}", r"\1\2"),
        (r"\{\\(?:rm|bf|it|sf|tt) ?([^{}]*)\}", r"\\text{\1}"),
        (
            r"\\(?:text[a-z]*|math(?:rm|bf|it|sf|tt)|mbox|hbox|operatorname\*?)(?![A-Za-z]) ?\{",
            r"\\text{",
        ),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\frac ?([0-9A-Za-z])", r"\\frac{\1}"),
        (rf"\\frac ?{_BRACED} ?([0-9A-Za-z])", r"\\frac{\1}{\2}"),
        (r"\\binom ?([0-9])([0-9])", r"\\binom{\1}{\2}"),
        (r"\\[dt]binom(?![A-Za-z])", r"\\binom"),
        (r"\\sqrt ([{\[])", r"\\sqrt\1"),
        (r"\\sqrt ?([0-9A-Za-z])", r"\\sqrt{\1}"),
        (r"(?:\\|(?<![A-Za-z\\]))sqrt ?\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"(?<![A-Za-z\\])(pi|theta|sin|cos|tan|sec|csc|cot|log|ln|exp|arcsin|arccos|arctan)(?![A-Za-z])", r"\\\1 "),
        (r"(?<![A-Za-z\\])(?:infinity|inf|oo)(?![A-Za-z])|\\text\{ ?infinity ?\}", r"\\infty "),
        (r"\^ ?\(([^()]*)\)", r"^{\1}"),
        (r"([\^_]) ?(-?[0-9]+)", r"\1{\2}"),
        (r"\^ ?\{? ?\\circ ?\}?|\\degree(?![A-Za-z])", r"^{\\circ}"),
        (r"\\(?:varnothing|emptyset)(?![A-Za-z])|\\\{ ?\\\}", r"\\emptyset "),
        (r"\\%", "%"),
        (r" +", " "),
    ]
]  # fmt: skip
_ANSWER_IS = re.compile(
    r"(\\text\{ ?)?(?:(?:so|thus|hence|therefore),? )?(?:the )?(?:final |correct )?"
    r"answers?(?: is| are|:)(?: |:|$)(\})?",
    re.IGNORECASE,
)
_OPENING = frozenset(["(", "[", "{", r"\{", r"\langle"])
_CLOSING = frozenset([")", "]", "}", r"\}", r"\rangle"])


def plain(text: str) -> str:
    r"""The text in plain notation, without math delimiters, "the answer is" and a final full stop.

    >>> plain(r"$\dfrac12$.")
    '\\frac{1}{2}'
    """
    text = unicodedata.normalize("NFKC", text.translate(_TABLE)).translate(_TABLE)
    text = _without_delimiters(text)
    for pattern, new in _REPLACED:
        text = pattern.sub(new, text)
    text = text.strip()
    if phrase := _ANSWER_IS.match(text):
        is_in_text = phrase[1] and not phrase[2]  # \text{The answer is 6}
        text = (r"\text{" if is_in_text else "") + text[phrase.end() :]
    return _without_wrapping(text)


def squeezed(text: str) -> str:
    """The text without insignificant white space, to compare character by character."""
    return re.sub(r"(?<![A-Za-z]) | (?![A-Za-z])", "", text.strip())


def tokens(text: str) -> Iterator[tuple[str, int, int]]:
    r"""(token, position, bracket depth) of each token; a command such as `\pi` or `\{` is one token.

    A bracket has the depth outside it. Any closing bracket closes any opening one, as in the interval `[0, 1)`.
    """
    depth = 0
    for match in re.finditer(r"\\(?:[A-Za-z]+|.)|.", text, re.DOTALL):
        token = match[0]
        depth -= token in _CLOSING or token == r"\end"
        yield token, match.start(), depth
        depth += token in _OPENING or token == r"\begin"


def split_at(text: str, separators: frozenset[str]) -> list[str]:
    """The pieces of a text between the separators outside brackets, stripped."""
    pieces, begin = [], 0
    for token, position, depth in tokens(text):
        if depth == 0 and token in separators:
            pieces.append(text[begin:position].strip())
            begin = position + len(token)
    return [*pieces, text[begin:].strip()]


def enclosed(text: str) -> tuple[str, str, str] | None:
    """(opening bracket, content, closing bracket) if one pair encloses the whole text."""
    if len(parts := list(tokens(text))) < 2:
        return None
    (opening, _, _), *inside, (closing, end, depth) = parts
    if opening == "]":  # the interval ]0, 1[
        is_pair, lowest = closing == "[", -1
    else:
        is_pair = opening in _OPENING and closing in _CLOSING and depth == 0
        lowest = 1
    if not is_pair or any(level < lowest for _, _, level in inside):
        return None
    return opening, text[len(opening) : end].strip(), closing


def _without_delimiters(text: str) -> str:
    r"""Without `$`, `\(`, `\[` and Markdown emphasis. A single `$`, or one with a backslash, is money: `\$`.

    All three are delimiters in `$221,$8$`, which occurs in a benchmark.
    """
    text = re.sub(r"\\[()]|(?<!\\)\\[\[\]]", " ", text.strip())
    text = re.sub(r"^[*_`\s]+(?=\S)|(?<=[^*_`\s])[*_`]*\s*$", "", text)
    marks = len(re.findall(r"(?<!\\)\$", text))
    is_formula = text.startswith("$") and re.search(r"(?<!\\)\$[.,;: ]*$", text) and marks > 1
    return re.sub(r"(?<!\\)\$", r"\\$" if marks % 2 and not is_formula else "", text)


def _without_wrapping(text: str) -> str:
    """Without punctuation at the ends and without braces around the whole text."""
    while True:
        shorter = re.sub(r"[\s.,;:]+$|^[\s:;]+", "", text)
        wrapped = enclosed(shorter)
        if wrapped and wrapped[0] == "{" and wrapped[2] == "}":
            shorter = wrapped[1]
        if shorter == text:
            return text
        text = shorter
