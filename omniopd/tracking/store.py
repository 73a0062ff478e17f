"""The one way to MLflow's store. A database of SQLite is made whole, by whoever comes first, before anyone opens it."""

import sys
from pathlib import Path

from mlflow import MlflowClient
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import make_url

from omniopd.data.lock import held, holder
from omniopd.data.store import write_atomic
from omniopd.errors import TrackingError
from omniopd.tracking.patience import bound_waits

MAKING_S = 120.0  # that the first wait for each other; making the tables takes about ten seconds
ARTIFACTS = "./mlruns"  # MLflow's default, for its experiment 0


def database_of(uri: str) -> Path | None:
    """The file of a SQLite store; None for a server or another database."""
    database = make_url(uri).database if uri.startswith("sqlite") else None
    return Path(database) if database and database != ":memory:" else None


def client_of(uri: str) -> MlflowClient:
    """A client of the store at `uri`, whose database exists afterwards; each call waits for a bounded time.

    Raises:
        MlflowException, SQLAlchemyError, OSError: the store cannot be reached or made.
        TrackingError: another process has been making it for two minutes.
    """
    bound_waits()
    make_store(uri)
    return MlflowClient(uri)


def make_store(uri: str) -> None:
    """Make the database of a SQLite store unless it exists: MLflow fails where two processes do so at once."""
    database = database_of(uri)
    if database is None or is_made(database):
        return
    lock = database.with_name(f"{database.name}.lock")
    with held(lock, within_s=MAKING_S) as is_held:
        if not is_held:
            raise TrackingError(
                f"{database}: {holder(lock)} has been making it for {MAKING_S:g} s; stop that, and try again"
            )
        if not is_made(database):
            write_atomic(database, _make_tables)


def is_made(database: Path) -> bool:
    """Whether there is a database in the file: an empty one is left by a process that was killed early."""
    return database.is_file() and database.stat().st_size > 0


def _make_tables(path: Path) -> None:
    store = SqlAlchemyStore(f"sqlite:///{path.absolute()}", ARTIFACTS)
    store.engine.dispose()


if __name__ == "__main__":
    make_store(sys.argv[1])
