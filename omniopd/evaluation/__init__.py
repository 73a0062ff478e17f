"""Is an answer right, how often, and how sure can one be."""

from omniopd.evaluation.accuracy import Accuracy, measure, wilson_interval
from omniopd.evaluation.grade import Grade
from omniopd.evaluation.graders import Case, grade, rewards
from omniopd.evaluation.pattern import answer_of

__all__ = ["Accuracy", "Case", "Grade", "answer_of", "grade", "measure", "rewards", "wilson_interval"]
