"""What grading finds in a response."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

GRADER_ERROR = "grader error: "
CUT = "cut at the limit"  # of tokens: the reason of a response that did not come to its end


@dataclass(frozen=True)
class Grade:
    """Whether a response is right, the answer that it gives if any, and what is wrong with it in a word or two.

    >>> Grade(is_right=False, answer="41", reason="another answer").is_right
    False
    """

    is_right: bool
    answer: str | None
    reason: str = ""  # empty where it is right

    @property
    def failure(self) -> str:
        """The kind of error that the grader failed with on the response; empty if it graded it."""
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
    """Under `grader_failures`, how many responses the grader failed on, by kind of error; nothing if there are none.

    >>> failure_counts(["", "another answer", "grader error: MemoryError"])
    {'grader_failures': {'MemoryError': 1}}
    """
    counts = Counter(filter(None, map(failure_in, reasons)))
    return {"grader_failures": dict(sorted(counts.items()))} if counts else {}
