"""Answers that match a pattern, compared character by character."""

import re

from omniopd.grading.grade import CUT, Grade
from omniopd.grading.thoughts import without_thought


def answer_of(response: str, pattern: str) -> str | None:
    """The first group of the last match of the pattern, or None.

    Only the text after a thought (`<think>...</think>`) is searched, unless the pattern itself names the tag.
    """
    text = response if "think" in pattern else without_thought(response)
    matches = list(re.finditer(pattern, text))
    return matches[-1].group(1) if matches else None


def grade_pattern(response: str, reference: str, pattern: str, *, finished: bool) -> Grade:
    """Right if the pattern's answer is the reference and the response ended before the token limit."""
    answer = answer_of(response, pattern)
    if not finished:
        return Grade(False, answer, CUT)
    if answer is None:
        return Grade(False, None, "no answer")
    return Grade(True, answer) if answer == reference else Grade(False, answer, "another answer")
