"""Prefect's database in a project's folder: one server at a time makes or upgrades it."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path

from omniopd.data.lock import one_at_a_time


@contextmanager
def first_start(root: Path) -> Iterator[Callable[[], None]]:
    """A block in which a server starts, and what to call when it answers: it lets those start that waited.

    Only the first server of a folder makes others wait, and the first of a release of Prefect: two that make the same
    tables at once both end with an error.
    """
    state = root / ".prefect"
    made = state / f"database-{version('prefect')}"
    with ExitStack() as lock:
        if not made.exists():
            lock.enter_context(one_at_a_time(state / "database.lock"))

        def others_may_start() -> None:
            with contextlib.suppress(OSError):  # then the next server waits for its turn as well
                made.touch()
            lock.close()

        if made.exists():
            lock.close()
        yield others_may_start
