"""What Prefect reads from the environment, set before it is imported. The user's own settings win."""

import os
from pathlib import Path


def project_state(root: Path) -> dict[str, str]:
    """Prefect's state inside the project folder, and its log lines off the screen.

    PREFECT_HOME alone does not isolate results and memo, so their paths are set too.
    """
    home = (root / ".prefect").resolve()
    return {
        "PREFECT_HOME": str(home),
        "PREFECT_RESULTS_LOCAL_STORAGE_PATH": str(home / "results"),
        "PREFECT_SERVER_MEMO_STORE_PATH": str(home / "memo_store.toml"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_LOGGING_LEVEL": "INFO",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "omniopd,flows",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",  # where a run goes on without Prefect
        "DO_NOT_TRACK": "1",
    }


def use_project_state(root: Path) -> None:
    """Have this process, and those that it starts, keep Prefect's state there."""
    for name, value in project_state(root).items():
        os.environ.setdefault(name, value)
