"""What is measured on a model: accuracy on prompts, and benchmarks."""

from omniopd.evaluation.accuracy import Accuracy, accuracy_of, answered, measure, wilson_interval

__all__ = ["Accuracy", "accuracy_of", "answered", "measure", "wilson_interval"]
