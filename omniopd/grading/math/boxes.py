r"""Answers in boxes: `\boxed{...}`, `\fbox{...}` and `\framebox{...}`."""

import re

from omniopd.grading.math.formulas import Part

_BOX = r"\\{1,4}(?:boxed|fbox|framebox)"
_OPENING = rf"{_BOX}(?:\s*\[[^\]\n]{{0,20}}\]){{0,2}}\s*+\{{"
_BOX_OR_BRACE = re.compile(rf"{_OPENING}|\\.|[{{}}]", re.DOTALL)
_BARE_BOX = re.compile(r"\\boxed\s++([^\s{}$\\]++)")
_IN_A_BOX = re.compile(rf"{_OPENING}(.*)\}}", re.DOTALL)
_PLACEHOLDER = re.compile(  # in "put your answer into \boxed{}"
    r"(?:[\s.…?_~$]|\\[ ,;:!]|\\(?:[lcd]?dots|q?quad)(?![a-z])|\\text\s*\{\s*\}|\\text\s*\{(?=[^{}]*answer))*"
    r"(?:(?:the|your|final)?\s*)*(?:answer)?(?:\s*here)?[\s.…}]*",
    re.IGNORECASE,
)
_NAME = r"(?:[A-Za-z]|\\[a-z]+)'*(?:_(?:\w|\{\w+\}))?(?:\([A-Za-z]\))?"
_NAMED = re.compile(rf"(?<![A-Za-z\\])({_NAME})\s*(?:=|\bis\b|\\in\b)\s*(?:\\?[$(\[])?\s*$")
_BETWEEN = r"[\s$*]|\\[,;:! ()\[\]]|\\q?quad(?![a-z])"
_JOINED = re.compile(
    rf"(?:{_BETWEEN})*+(?:(?:[,;&]|\\text\s*\{{[\s,]*(?:and|or)\s*\}}|\b(?:and|or)\b)(?:{_BETWEEN})*+)+"
)
MAX_BETWEEN_CHARS = 80


def has_box(text: str) -> bool:
    return re.search(_BOX, text) is not None


def boxed(text: str) -> str | None:
    r"""The answer in the last outermost box, with those before it that are joined to it.

    Commas, "and" or "or", and names join boxes: "x = \boxed{2} or x = \boxed{3}" gives "x = 2, x = 3". A box without an
    answer, as in a remark on the format, is skipped. None if a box is not closed.
    """
    boxes = _boxes(text)
    if boxes is None:
        return None
    if not boxes:
        return next(reversed(_BARE_BOX.findall(text)), None)
    filled = [box for box in boxes if not _PLACEHOLDER.fullmatch(box.text)] or boxes
    joined = filled[-1:]
    for box in reversed(filled[:-1]):
        between = text[box.end : joined[0].begin]
        if len(between) > MAX_BETWEEN_CHARS or not is_joined(_NAMED.sub("", between)):
            break
        joined.insert(0, box)
    if len(joined) == 1:
        return _unboxed(joined[0].text) or None
    named = []
    for box in joined:
        name = _NAMED.search(text[max(0, box.begin - MAX_BETWEEN_CHARS) : box.begin])
        named.append(f"{name[1]} = {_unboxed(box.text)}" if name else _unboxed(box.text))
    return ", ".join(named)


def is_joined(between: str) -> bool:
    """Whether the text between two answers joins them into one: only commas, "and" or "or"."""
    return len(between) <= MAX_BETWEEN_CHARS and _JOINED.fullmatch(between) is not None


def _unboxed(content: str) -> str:
    """The content of a box; of the inner box if it contains only another box."""
    content = content.strip()
    inner = _boxes(content) if has_box(content) else None
    if inner and len(inner) == 1 and _IN_A_BOX.fullmatch(content) and inner[0].end == len(content):
        return inner[0].text.strip()
    return content


def _boxes(text: str) -> list[Part] | None:
    """The outermost boxes, or None if one is not closed."""
    boxes: list[Part] = []
    opened: list[tuple[int, int]] = []  # where an open box and its content begin; −1 for a brace
    num_open = 0
    for match in _BOX_OR_BRACE.finditer(text):
        token = match[0]
        if token == "{":
            opened.append((-1, -1))
        elif token == "}" and opened:
            begin, content_begin = opened.pop()
            num_open -= begin >= 0
            if begin >= 0 and not num_open:
                boxes.append(Part(text[content_begin : match.start()], begin, match.end()))
        elif token.endswith("{") and "box" in token:
            opened.append((match.start(), match.end()))
            num_open += 1
    return None if num_open else boxes
