"""Evaluation: benchmarks on any model, and a run's student before and after the run."""
