"""How long a call to MLflow may take. As MLflow comes, a call to a server that hangs takes some twenty minutes."""

import os
import re
from typing import Any

from sqlalchemy import Engine, event

BUSY_MS = 5000  # that SQLite waits for a lock, in place of MLflow's 20,000 at every statement
HTTP = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds; MLflow: 120
    # MLflow: 7. A request whose answer was lost may have been heard; a message of ours looks first, and then repeats.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
}
SHARE = 20  # the time that a failed call took is at most one part in so many of the time until the next


def bound_waits() -> None:
    """Keep each call to MLflow short, in this process. The user's own settings of HTTP win."""
    for name, value in HTTP.items():
        os.environ.setdefault(name, value)
    if not event.contains(Engine, "before_cursor_execute", _wait_less):
        event.listen(Engine, "before_cursor_execute", _wait_less, retval=True)


def _wait_less(
    _connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool
) -> tuple[str, Any]:
    """MLflow sets SQLite's wait by a statement of its own in every session; no setting of a URI outlives it."""
    return re.sub(r"(?<=^PRAGMA busy_timeout = )\d+", str(BUSY_MS), statement), parameters
