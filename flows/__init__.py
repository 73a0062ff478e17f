"""Prefect: the retryable DAG around the library. A task is one call of omniopd.stages, paths in and paths out."""
