"""MLflow: logging a run, and reading runs back."""
