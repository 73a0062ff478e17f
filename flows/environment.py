"""What Prefect reads from the environment, set before it is imported. The user's own settings win."""

import os
from pathlib import Path


def use_project_state(root: Path) -> None:
    """Keep Prefect's state inside the project folder, and its log lines off the screen.

    PREFECT_HOME alone does not isolate results and memo, so their paths are set too.
    """
    home = (root / ".prefect").resolve()
    for name, value in {
        "PREFECT_HOME": home,
        "PREFECT_RESULTS_LOCAL_STORAGE_PATH": home / "results",
        "PREFECT_SERVER_MEMO_STORE_PATH": home / "memo_store.toml",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_LOGGING_LEVEL": "INFO",
        "DO_NOT_TRACK": "1",
    }.items():
        os.environ.setdefault(name, str(value))
