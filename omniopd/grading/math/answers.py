r"""The final answer of a response or a reference: a box, `#### n`, "the answer is ...", the last formula or number."""

import re

from omniopd.grading.math.boxes import boxed, has_box, is_joined
from omniopd.grading.math.formulas import MASK, Formula, formulas, masked
from omniopd.grading.math.structures import UNDECIDED
from omniopd.grading.thoughts import without_thought

TAIL_CHARS = 200_000  # of a text are looked at, from its end
SENTENCE_CHARS = 2_000  # and of what follows "the answer is", from its beginning
CONTEXT_CHARS = 40
MAX_PHRASES = 20  # of "the answer is" are read, from the last one on
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
_WORKED_OUT = re.compile(r"<<[^<>]*+>>")  # how GSM8K's solutions note what a calculator is asked
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_LABEL = re.compile(r"(?:[A-Z]\w*\s)+\S+")  # Vendor 2


def final_answer(text: str) -> str | None:
    r"""The answer that a text comes to, as it is written there, or None.

    A thought (`<think>...</think>`) is passed over; one that is not closed has no answer. The answer is what the
    last `\boxed{...}` holds, with the boxes that are joined to it. Without a box it is what follows the last `####`
    at the beginning of a line; else what follows the last "the answer is" or "answer:", up to the end of the
    sentence; else the last formula, number or choice such as (B), whichever ends last. No number is taken out of a
    formula. If a sentence after "the answer is" has one formula or number among words, that is the answer. A box
    that does not close or is empty is none.

    >>> final_answer(r"So $x = \boxed{\frac{1}{2}}$."), final_answer(r"The area is $6\pi$.")
    ('\\frac{1}{2}', '6\\pi')
    """
    text = without_thought(text)[-TAIL_CHARS:]
    if has_box(text):
        return boxed(text)
    return _marked_line(text) or _after_phrase(text) or _last_value(text)


def marked_answer(text: str) -> str:
    """The answer that a reference gives: what is marked in it by a box or by ####, else all of it."""
    if has_box(text) or _HASHES.search(text):
        return final_answer(text) or ""
    return text.strip()


def _marked_line(text: str) -> str | None:
    """What follows the last ####, unless that is a heading: words with more text below them."""
    lines = [
        match[1].strip()
        for match in _HASHES.finditer(text)
        if not _HEADING.fullmatch(match[1]) or not text[match.end() :].strip()
    ]
    return lines[-1] if lines else None


def _after_phrase(text: str) -> str | None:
    for phrase in reversed(list(_PHRASE.finditer(text))[-MAX_PHRASES:]):
        answer = _of_sentence(text[phrase.end() :][:SENTENCE_CHARS])
        if answer and not _REMARK.match(answer):  # I hope that the answer is correct.
            return answer
    return None


def _of_sentence(rest: str) -> str:
    """The answer of a sentence that begins after "the answer is"."""
    found = formulas(rest)
    if found and found[0].begin == 0 and rest.startswith(("$$", r"\[")):
        return found[0].text
    rest = _WORKED_OUT.sub("", rest)
    cover = masked(rest, formulas(rest))
    line = cover.partition("\n")[0]
    end = _SENTENCE_END.search(line)
    cover = line[: end.start()] if end else line
    sentence = rest[: len(cover)].strip().strip("*_").strip()
    found = formulas(sentence)
    outside = masked(sentence, found)
    values = [(formula.begin, formula.end) for formula in found]
    values += [match.span() for match in _NUMBER.finditer(outside)]
    if len(values) != 1 or values[0][0] == 0 or "\\" in outside or not _WORD.search(outside):
        return sentence
    is_label = MASK not in outside and _LABEL.fullmatch(sentence)
    if is_label or UNDECIDED.search(outside):
        return sentence
    begin, stop = values[0]
    return sentence[begin:stop].strip()


def _last_value(text: str) -> str | None:
    """The last formula, number or choice."""
    found = formulas(text)
    cover = masked(text, found)
    last = [list(pattern.finditer(cover))[-1:] for pattern in (_NUMBER, _CHOICE, _MATHEMATICS)]
    number, choice, undelimited = (matches[0] if matches else None for matches in last)
    end = max((match.end() for match in (number, choice, undelimited) if match), default=-1)
    if found and found[-1].end > end:
        return _joined_formulas(text, found)
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


def _joined_formulas(text: str, found: list[Formula]) -> str:
    """The last formula, with those before it that are joined to it by commas, "and" or "or"."""
    *others, last = found
    begin = last.begin
    for formula in reversed(others):
        if not is_joined(text[formula.end : begin]):
            break
        begin = formula.begin
    return last.text if begin == last.begin else text[begin : last.end]


def _clause(text: str, cover: str, span: tuple[int, int]) -> str:
    """The part of the sentence around a span that begins after the last sign of equality, or "is", before it."""
    begin = cover.rfind("\n", 0, span[0]) + 1
    for match in _SENTENCE_END.finditer(cover, begin, span[0]):
        begin = match.end()
    for match in _CLAUSE.finditer(cover, begin, span[0]):
        begin = match.end()
    end = _SENTENCE_END.search(cover, span[1])
    return text[begin : end.start() if end else len(text)].strip()
