r"""Which expressions go to the computer algebra system: small ones that are finished answers."""

import re

MAX_CHARS = 300
MAX_DEPTH = 12  # of braces and brackets
_ALLOWED = re.compile(r"(?:[0-9A-Za-z+\-/^_{}()\[\]|!.<>= ]|\\[A-Za-z]++)*+")
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_FUNCTION_NAMES = """
frac sqrt binom cdot pi infty sin cos tan sec csc cot arcsin arccos arctan sinh cosh tanh log ln exp le ge ne
lfloor rfloor lceil rceil
"""
_GREEK_NAMES = """alpha beta gamma delta epsilon theta lambda mu phi psi omega sigma rho tau"""
_FUNCTIONS, _GREEK = frozenset(_FUNCTION_NAMES.split()), frozenset(_GREEK_NAMES.split())
_TOWER = r"\^ ?\{ ?[0-9]+ ?(?:\^|!)|\^ ?\{[^{}]*\^ ?\{[^{}]*\^|\^ ?\{[^{}]*\} ?\^"
_REFUSED = re.compile(  # numerals in a row, long ones, large powers, factorials and binomials, and towers of them
    rf"[0-9] +[0-9]|[0-9.]{{31}}|\^ ?\{{? ?-?[0-9]{{5}}|[0-9]{{5}}!|! ?\)* ?!|\\binom\{{[0-9]{{5}}|{_TOWER}|__"
)
_LONG_RUN = re.compile(r"[A-Za-z]{4}")
_OPERATION = re.compile(r"\+|/|\\cdot|(?<=[0-9A-Za-z})!]) ?-|\) ?\(|[0-9] ?\(")


def is_readable(text: str) -> bool:
    """Whether an expression is small and consists of numbers, variables and functions that occur in answers.

    Integrals, sums and limits are not answers: they say how to compute one.
    """
    if not text or len(text) > MAX_CHARS or not _ALLOWED.fullmatch(text) or _REFUSED.search(text):
        return False
    if not set(_COMMAND.findall(text)) <= _FUNCTIONS | _GREEK:
        return False
    return not _LONG_RUN.search(_COMMAND.sub(" ", text)) and _depth(text) <= MAX_DEPTH


def variables(text: str) -> frozenset[str]:
    r"""The variables of an expression: letters except e and i, and Greek letters except \pi."""
    letters = set(re.sub(r"[^A-Za-z]", "", _COMMAND.sub("", text))) - {"e", "i"}
    return frozenset(letters | (_GREEK & set(_COMMAND.findall(text))))


def is_unfinished(text: str) -> bool:
    """Whether a sum, difference, product or quotient is left to evaluate."""
    return bool(_OPERATION.search(re.sub(r"\^\{ ?-", "^{", text.strip().lstrip("+- "))))


def _depth(text: str) -> int:
    depth = deepest = 0
    for char in text:
        depth += (char in "{([") - (char in "})]")
        deepest = max(deepest, depth)
        if depth < 0:
            return MAX_DEPTH + 1
    return deepest if depth == 0 else MAX_DEPTH + 1
