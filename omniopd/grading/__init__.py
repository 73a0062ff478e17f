"""Which responses are right: by a pattern, by value, or by running programs."""

from omniopd.grading.grade import Grade, failure_counts
from omniopd.grading.graders import Case, Grader, answer_of, grade, grader_of, rewards

__all__ = ["Case", "Grade", "Grader", "answer_of", "failure_counts", "grade", "grader_of", "rewards"]
