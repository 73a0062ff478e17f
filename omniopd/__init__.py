"""On-policy distillation from a teacher that only answers text."""

__version__ = "0.1.0"
