r"""The final answer in a text: a box, `#### n`, "the answer is ...", or the last formula or number."""

import re

from omniopd.grading.math.boxes import boxed, has_box, is_joined
from omniopd.grading.math.formulas import MASK, Part, formulas, masked
from omniopd.grading.math.structures import UNDECIDED
from omniopd.grading.thoughts import without_thought

TAIL_CHARS = 200_000  # at the end of a text that are read
SENTENCE_CHARS = 2_000  # after "the answer is" that are read
CONTEXT_CHARS = 40
MAX_PHRASES = 20  # of "the answer is" that are read, the last first
_HASHES = re.compile(r"^[ \t]*+####[ \t]*+(\S.*)$", re.MULTILINE)
_HEADING = re.compile(r"[A-Za-z*_:. ]+|\W*(?:Step|Part|Case|Question|Problem)\b.*")
_PHRASE = re.compile(
    r"(?:\b(?:answers?|(?:correct|right|best) (?:option|choice))\b(?:[^.,:=\n]{0,60}?\b(?:is|are)\b|[\s*_]{0,4}[:=])"
    r"|^[ \t>#*_]{0,12}(?:the )?(?:final |correct )?answers?[ \t*_]{0,8}\n)[\s*_:]{0,8}",
    re.IGNORECASE | re.MULTILINE,
)
_REMARK = re.compile(
    r"(?:in)?(?:correct|right|reasonable|consistent|valid|verified|confirmed)\b", re.IGNORECASE
)
_TITLES = "Mr Mrs Ms Dr St Prof Jr Sr vs"
_SENTENCE_END = re.compile(
    "".join(rf"(?<!\b{title})" for title in _TITLES.split()) + rf"[.!?]\**(?=\s+[A-Z*{MASK}]|\s*$)",
    re.MULTILINE,
)
_NUMBER = re.compile(
    r"(?<![\w.,^_{/\\])[-−+]?\\?[$€£]?[-−]?(?:\d{1,3}(?:,\d{3})++|\d++)(?:\.\d++)?(?!,?\d)(?:/\d++)?"
    r"(?!(?:st|nd|rd|th)\b)(?:\s?\\?%)?|[-−]?\\[dt]?frac\{-?\d++\}\{\d++\}",
    re.ASCII,
)
_CHOICE = re.compile(r"\(([A-J])\)")
_MATHEMATICS = re.compile(  # without delimiters: commands, powers, roots, and tuples
    r"\\[A-Za-z]+|[\^√π²³]|\(\s?[-−]?[\d./]+(?:\s?,\s?[-−]?[\d./]+)+\s?\)", re.ASCII
)
_GOES_ON = re.compile(  # after a number: 6 pi, 5x, 3 + y
    r"\s?(?:[\\^*√π_]|(?:pi|sqrt)\b|[-+/]\s?(?:[A-Za-z\\√](?![A-Za-z])|\d++[A-Za-z√π]))|[a-fin-rt-zD-ER-SXYZ](?![A-Za-z])|\("
)
_GOES_BEFORE = re.compile(r"(?:[A-Za-z√]\(|(?<![A-Za-z])[A-Za-z)}\]π]\s?[-+−*/^]\s?|√|\d\S{0,20}\s+or\s+)$")
_CLAUSE = re.compile(r"[=≈]|\b(?:is|are|equals|be)\b")
_WORKED_OUT = re.compile(r"<<[^<>]*+>>")  # calculator annotations in GSM8K's solutions
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_LABEL = re.compile(r"(?:[A-Z]\w*\s)+\S+")  # Vendor 2


def final_answer(text: str) -> str | None:
    r"""The final answer of a text, as written there, or None.

    Text before `</think>` is skipped; a thought that is not closed has no answer. The answer is the content of the last
    `\boxed{...}`, with the boxes that are joined to it. Without a box it is what follows the last `####` at the start
    of a line; else what follows the last "the answer is" or "answer:", to the end of the sentence; else the last
    formula, number or choice such as (B), whichever ends last. No number is taken out of a formula. If the sentence
    after "the answer is" has one formula or number among words, that is the answer. A box that is empty or not closed
    is no answer.

    >>> final_answer(r"So $x = \boxed{\frac{1}{2}}$."), final_answer(r"The area is $6\pi$.")
    ('\\frac{1}{2}', '6\\pi')
    """
    text = without_thought(text)[-TAIL_CHARS:]
    if has_box(text):
        return boxed(text)
    return _marked_line(text) or _after_phrase(text) or _last_value(text)


def marked_answer(text: str) -> str:
    """The answer in a reference: what a box or #### marks, else the whole text."""
    if has_box(text) or _HASHES.search(text):
        return final_answer(text) or ""
    return text.strip()


def _marked_line(text: str) -> str | None:
    """What follows the last #### that is not a heading (words with more text below)."""
    for match in reversed(list(_HASHES.finditer(text))):
        if not _HEADING.fullmatch(match[1]) or not text[match.end() :].strip():
            return match[1].strip()
    return None


def _after_phrase(text: str) -> str | None:
    for phrase in reversed(list(_PHRASE.finditer(text))[-MAX_PHRASES:]):
        answer = _of_sentence(text[phrase.end() :][:SENTENCE_CHARS])
        if answer and not _REMARK.match(answer):  # I hope that the answer is correct.
            return answer
    return None


def _of_sentence(rest: str) -> str:
    """The answer in the sentence that follows "the answer is"."""
    if rest.startswith(("$$", r"\[")) and (displayed := formulas(rest)) and displayed[0].begin == 0:
        return displayed[0].text
    rest = _WORKED_OUT.sub("", rest)
    line = masked(rest, formulas(rest)).partition("\n")[0]
    end = _SENTENCE_END.search(line)
    sentence = rest[: end.start() if end else len(line)].strip().strip("*_").strip()
    in_sentence = formulas(sentence)
    outside = masked(sentence, in_sentence)
    values = [(formula.begin, formula.end) for formula in in_sentence]
    values += [match.span() for match in _NUMBER.finditer(outside)]
    if len(values) != 1 or values[0][0] == 0 or "\\" in outside or not _WORD.search(outside):
        return sentence
    is_label = MASK not in outside and _LABEL.fullmatch(sentence)
    if is_label or UNDECIDED.search(outside):
        return sentence
    return sentence[slice(*values[0])].strip()


def _last_value(text: str) -> str | None:
    """The last formula, number or choice."""
    in_text = formulas(text)
    cover = masked(text, in_text)
    last = [list(pattern.finditer(cover))[-1:] for pattern in (_NUMBER, _CHOICE, _MATHEMATICS)]
    number, choice, undelimited = (matches[0] if matches else None for matches in last)
    end = max((match.end() for match in (number, choice, undelimited) if match), default=-1)
    if in_text and in_text[-1].end > end:
        return _joined_formulas(text, in_text)
    if undelimited and undelimited.end() == end and not (number and number.end() == end):
        return _clause(text, cover, undelimited.span())
    if choice and choice.end() == end:
        return choice[0]
    if number is None:
        return None
    before, after = cover[: number.start()][-CONTEXT_CHARS:], cover[number.end() :][:CONTEXT_CHARS]
    if _GOES_ON.match(after) or _GOES_BEFORE.search(before):
        return _clause(text, cover, number.span())
    return number[0].strip()


def _joined_formulas(text: str, in_text: list[Part]) -> str:
    """The last formula, with those that commas, "and" or "or" join to it."""
    *others, last = in_text
    begin = last.begin
    for formula in reversed(others):
        if not is_joined(text[formula.end : begin]):
            break
        begin = formula.begin
    return last.text if begin == last.begin else text[begin : last.end]


def _clause(text: str, cover: str, span: tuple[int, int]) -> str:
    """The part of the sentence around a span, from the last equals sign or "is" before it."""
    begin = cover.rfind("\n", 0, span[0]) + 1
    for pattern in (_SENTENCE_END, _CLAUSE):
        for match in pattern.finditer(cover, begin, span[0]):
            begin = match.end()
    end = _SENTENCE_END.search(cover, span[1])
    return text[begin : end.start() if end else len(text)].strip()
