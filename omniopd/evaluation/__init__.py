"""Is an answer right, how often, and how sure can one be."""

from omniopd.evaluation.accuracy import Accuracy, accuracy_of, answered, measure, wilson_interval
from omniopd.evaluation.grade import Grade, failure_counts
from omniopd.evaluation.graders import Case, grade, rewards
from omniopd.evaluation.pattern import answer_of

__all__ = [
    "Accuracy",
    "Case",
    "Grade",
    "accuracy_of",
    "answer_of",
    "answered",
    "failure_counts",
    "grade",
    "measure",
    "rewards",
    "wilson_interval",
]
