"""Which responses are right: by a pattern, by value, or by running programs."""

from omniopd.grading.grade import Grade, failure_counts
from omniopd.grading.graders import Case, grade, rewards
from omniopd.grading.pattern import answer_of

__all__ = ["Case", "Grade", "answer_of", "failure_counts", "grade", "rewards"]
