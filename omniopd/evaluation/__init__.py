"""Is an answer right, how often, and how sure can one be."""

from omniopd.evaluation.accuracy import Accuracy, answer_of, measure, reward_of, wilson_interval

__all__ = ["Accuracy", "answer_of", "measure", "reward_of", "wilson_interval"]
