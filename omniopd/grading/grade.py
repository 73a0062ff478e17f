"""The grade of a response."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

GRADER_ERROR = "grader error: "
CUT = "cut at the limit"  # the reason of a response that reached the token limit


@dataclass(frozen=True)
class Grade:
    """Whether a response is right, its answer if it has one, and in a word or two why it is wrong.

    >>> Grade(is_right=False, answer="41", reason="another answer").is_right
    False
    """

    is_right: bool
    answer: str | None
    reason: str = ""  # empty if it is right

    @property
    def failure(self) -> str:
        """The kind of error with which the grader failed on the response; empty if it did not."""
        return failure_in(self.reason)


def not_graded(error: Exception) -> Grade:
    """The grade of a response on which the grader failed: wrong, with the error's kind as its reason.

    >>> not_graded(ZeroDivisionError()).reason
    'grader error: ZeroDivisionError'
    """
    return Grade(False, None, f"{GRADER_ERROR}{type(error).__name__}")


def failure_in(reason: str) -> str:
    """The kind of error in the reason of a grade; empty if the grader did not fail.

    >>> failure_in("grader error: ZeroDivisionError"), failure_in("another answer")
    ('ZeroDivisionError', '')
    """
    return reason.removeprefix(GRADER_ERROR) if reason.startswith(GRADER_ERROR) else ""


def failure_counts(reasons: Iterable[str]) -> dict[str, dict[str, int]]:
    """The number of responses on which the grader failed, by kind of error, under `grader_failures`; {} if none.

    >>> failure_counts(["", "another answer", "grader error: MemoryError"])
    {'grader_failures': {'MemoryError': 1}}
    """
    counts = Counter(filter(None, map(failure_in, reasons)))
    return {"grader_failures": dict(sorted(counts.items()))} if counts else {}
