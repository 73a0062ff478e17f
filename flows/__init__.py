"""Prefect: the retryable DAG around the library. A task is one call of omniopd.rounds, paths in and paths out."""
