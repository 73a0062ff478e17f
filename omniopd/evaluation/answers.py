r"""The final answer of a response or a reference solution: `\boxed{...}`, `#### n`, "the answer is ...", a number."""

import re

TAIL_CHARS = 200_000  # of a text are looked at, from its end
SENTENCE_CHARS = 2_000  # and of what follows "the answer is", from its beginning
_BOX_OR_BRACE = re.compile(r"\\+(?:boxed|fbox)\s*+\{|\\.|[{}]", re.DOTALL)
_BARE_BOX = re.compile(r"\\boxed\s++([^\s{}$\\]++)")
_HASHES = re.compile(r"^[ \t]*+####[ \t]*+(\S.*)$", re.MULTILINE)
_PHRASE = re.compile(
    r"\banswers?\b(?:[^.,:=\n]{0,60}?\b(?:is|are)\b|[\s*]{0,4}[:=])[\s*:]{0,8}", re.IGNORECASE
)
_DISPLAYED = re.compile(r"\$\$(.*?)\$\$|\\\[(.*?)\\\]", re.DOTALL)
_SENTENCE_END = re.compile(r"[.!?]\**(?=\s+[A-Z*]|\s*$)")
_NUMBER = re.compile(
    r"(?<![\w.,^_{/\\])[-−+]?\\?[$€£]?[-−]?(?:\d{1,3}(?:,\d{3})++|\d++)(?:\.\d++)?(?!,?\d)(?:/\d++)?"
    r"(?!(?:st|nd|rd|th)\b)(?:\s?\\?%)?|[-−]?\\[dt]?frac\{-?\d++\}\{\d++\}",
    re.ASCII,
)
_CHOICE = re.compile(r"\(([A-J])\)")
_WORKED_OUT = re.compile(r"<<[^<>]*+>>")  # how GSM8K's solutions note what a calculator is asked
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_UNDECIDED = re.compile(
    r"\b(?:or|nor|not|than|between|least|most|either|if|unless|except|maybe)\b|n't\b", re.IGNORECASE
)


def final_answer(text: str) -> str | None:
    r"""The answer that a text comes to, as it is written there, or None.

    That is what the last `\boxed{...}` holds; without one what follows the last `####` at the beginning of a line;
    without that what follows the last "the answer is" or "answer:", up to the end of the sentence; and without any of
    them the last number, or the last choice such as (B), whichever stands later. Of a sentence after "the answer is"
    which holds one number among words, that number. A box that does not close is no answer, nor is an empty one.

    >>> final_answer(r"So $x = \boxed{\frac{1}{2}}$.")
    '\\frac{1}{2}'
    """
    text = text[-TAIL_CHARS:]
    if _has_box(text):
        return _boxed(text)
    if lines := _HASHES.findall(text):
        return lines[-1].strip()
    phrases = list(_PHRASE.finditer(text))
    if phrases and (answer := _said(text[phrases[-1].end() :][:SENTENCE_CHARS])):
        return answer
    return _last_number_or_choice(text)


def marked_answer(text: str) -> str:
    """The answer that a reference gives: what is marked in it by a box or by ####, else all of it."""
    if _has_box(text) or _HASHES.search(text):
        return final_answer(text) or ""
    return text.strip()


def _has_box(text: str) -> bool:
    return "\\boxed" in text or "\\fbox" in text


def _boxed(text: str) -> str | None:
    """What the last box that stands in no other holds; None where one does not close."""
    boxes = _boxes(text)
    if boxes is None:
        return None
    if not boxes:
        bare = _BARE_BOX.findall(text)
        return bare[-1] if bare else None
    content = boxes[-1].strip()
    inner = _boxes(content) if _has_box(content) else None
    if inner and re.fullmatch(r"\\(?:boxed|fbox)\s*\{\s*" + re.escape(inner[-1].strip()) + r"\s*\}", content):
        content = inner[-1].strip()  # a box in a box
    return content or None


def _boxes(text: str) -> list[str] | None:
    """The contents of the boxes that stand in no other, or None where one does not close."""
    contents: list[str] = []
    opened: list[int] = []  # where the content of a box begins; −1 for a brace
    num_boxes = 0
    for match in _BOX_OR_BRACE.finditer(text):
        token = match[0]
        if token == "{":
            opened.append(-1)
        elif token == "}" and opened:
            begin = opened.pop()
            num_boxes -= begin >= 0
            if begin >= 0 and not num_boxes:
                contents.append(text[begin : match.start()])
        elif token.endswith("{") and "box" in token:
            opened.append(match.end())
            num_boxes += 1
    return None if num_boxes else contents


def _said(rest: str) -> str:
    """The answer of a sentence that begins after "the answer is"."""
    if displayed := _DISPLAYED.match(rest):
        return (displayed[1] or displayed[2] or "").strip()
    line = _WORKED_OUT.sub("", rest.partition("\n")[0])
    end = _SENTENCE_END.search(line)
    sentence = (line[: end.start()] if end else line).strip()
    numbers = list(_NUMBER.finditer(sentence))
    begins_with_it = bool(numbers) and numbers[0].start() == 0
    if len(numbers) != 1 or begins_with_it or "\\" in sentence or not _WORD.search(sentence):
        return sentence
    return sentence if _UNDECIDED.search(sentence) else numbers[0][0].strip()


def _last_number_or_choice(text: str) -> str | None:
    found = [list(pattern.finditer(text))[-1:] for pattern in (_NUMBER, _CHOICE)]
    last = max((match for own in found for match in own), key=lambda match: match.start(), default=None)
    return last[0].strip() if last else None
