"""On-policy distillation from a teacher that only answers text."""

__version__ = "0.2.0.dev0"

RESULTS_VERSION = "0.1.0"
"""Part of the key of every run, model and sample; a release does not change it.

Change it when the same settings give different results: earlier work no longer matches its key, and is done again.
"""
