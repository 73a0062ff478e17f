"""The one way to MLflow's store, with bounded waits. A SQLite database is made whole before anyone opens it."""

import os
import sys
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from omniopd.data.lock import holder, try_lock
from omniopd.data.store import write_atomic
from omniopd.errors import TrackingError

# Of a store that is down, locked, full or misconfigured.
STORE_ERRORS = (MlflowException, SQLAlchemyError, OSError)
MAKING_S = 120.0  # for the first processes to wait for each other; making the tables takes about ten seconds
ARTIFACTS = "./mlruns"  # MLflow's default, for its experiment 0
# By default MLflow waits 120 s for a server and retries seven times, so that a call to one that hangs takes twenty
# minutes. A request whose answer was lost may have been carried out: our messages check first, and then repeat.
# A locked SQLite is waited for as MLflow does, for 20 s.
HTTP = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}


def database_of(uri: str) -> Path | None:
    """The file of a SQLite store; None for a server or another database."""
    database = make_url(uri).database if uri.startswith("sqlite") else None
    return Path(database) if database and database != ":memory:" else None


def client_of(uri: str) -> MlflowClient:
    """A client of the store at `uri`, whose database exists afterwards. The user's own timeouts of HTTP win.

    Raises:
        MlflowException, SQLAlchemyError, OSError: the store cannot be reached or made.
        TrackingError: another process has been making it for two minutes.
    """
    for name, value in HTTP.items():
        os.environ.setdefault(name, value)
    make_store(uri)
    return MlflowClient(uri)


def no_answer(error: Exception) -> str:
    """That MLflow does not answer, with the first line of the error.

    >>> no_answer(OSError("disk full\\n(see the log)"))
    'MLflow does not answer (disk full)'
    """
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f"MLflow does not answer ({first[:160]})"


def make_store(uri: str) -> None:
    """Make the database of a SQLite store unless it exists: MLflow fails where two processes do so at once."""
    database = database_of(uri)
    if database is None or is_made(database):
        return
    lock = database.with_name(f"{database.name}.lock")
    with try_lock(lock, within_s=MAKING_S) as is_held:
        if not is_held:
            raise TrackingError(
                f"{database}: {holder(lock)} has been making it for {MAKING_S:g} s; stop that process, and try again"
            )
        if not is_made(database):
            write_atomic(database, _make_tables)


def is_made(database: Path) -> bool:
    """Whether the file holds a database; a process that was killed early leaves it empty."""
    return database.is_file() and database.stat().st_size > 0


def _make_tables(path: Path) -> None:
    SqlAlchemyStore(f"sqlite:///{path.absolute()}", ARTIFACTS).engine.dispose()


if __name__ == "__main__":
    make_store(sys.argv[1])
