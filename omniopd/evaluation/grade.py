"""What grading finds in a response."""

from dataclasses import dataclass

GRADER_ERROR = "grader error"


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
    def is_grader_error(self) -> bool:
        """Whether the grader failed on the response."""
        return self.reason.startswith(GRADER_ERROR)


def not_graded(error: Exception) -> Grade:
    """The grade of a response on which the grader failed: wrong, with the error's kind as its reason.

    >>> not_graded(ZeroDivisionError()).reason
    'grader error: ZeroDivisionError'
    """
    return Grade(False, None, f"{GRADER_ERROR}: {type(error).__name__}")
