"""Progress for people: a live bar with the time left in a terminal, a few plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

PLAIN_EVERY_S = 15.0


class Bar:
    """One piece of work that is counted up to its total."""

    def __init__(self, console: Console, label: str, total: int, progress: Progress | None):
        self._console = console
        self._label = label
        self._total = total
        self._progress = progress
        self._task = progress.add_task(label, total=total, note="") if progress else None
        self._start = time.monotonic()
        self._last_line = self._start

    def update(self, done: int, note: str = "") -> None:
        """Say that `done` of the total is done; the note stands behind it."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done)
            if note:
                self._progress.update(self._task, note=note)
            return
        now = time.monotonic()
        if now - self._last_line >= PLAIN_EVERY_S or (done == self._total and self._total):
            self._last_line = now
            left = (now - self._start) / max(done, 1) * (self._total - done)
            self.say(
                f"{self._label}: {done}/{self._total}"
                + (f", {note}" if note else "")
                + f", {left:.0f} s left"
            )

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._console.print(line, markup=False, highlight=False)


@contextmanager
def bar(label: str, total: int, *, console: Console | None = None) -> Iterator[Bar]:
    """A bar on standard error for the block."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield Bar(console, label, total, None)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as progress:
        yield Bar(console, label, total, progress)
