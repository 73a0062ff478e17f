"""Progress for people: a live bar with the time left in a terminal, a few plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from omniopd.config import Params

PLAIN_EVERY_S = 10.0


class Bar:
    """One piece of work that is counted up to its total."""

    def __init__(self, console: Console, label: str, total: int, progress: Progress | None):
        self._console, self._label, self._total = console, label, total
        self._progress = progress
        self._task = progress.add_task(label, total=total, note="") if progress else None
        self._done = self._from = 0  # of the total: now, and when the clock of the time left was started
        self._start = self._last_line = time.monotonic()

    def skip_to(self, done: int) -> None:
        """Show work that was done in an earlier run; the time left is estimated from here."""
        self._start_clock(done)
        self.update(done)

    def update(self, done: int, note: str = "") -> None:
        """Show `done` of the total, followed by the note; less than before restarts the clock."""
        if done < self._done:
            self._start_clock(done)
        self._done = done
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done)
            if note:
                self._progress.update(self._task, note=note)
            return
        now = time.monotonic()
        if now - self._last_line >= PLAIN_EVERY_S or (done == self._total and self._total):
            self._last_line = now
            parts = [f"{self._label}: {done}/{self._total}", note, self._time_left(done, now)]
            self.say(", ".join(filter(None, parts)))

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _start_clock(self, done: int) -> None:
        self._from, self._start = done, time.monotonic()
        if self._progress is not None and self._task is not None:
            self._progress.reset(self._task, completed=done)

    def _time_left(self, done: int, now: float) -> str:
        """At the pace since the clock was started; empty where nothing was done since."""
        if done in (self._total, self._from):
            return ""
        return f"{duration((now - self._start) / (done - self._from) * (self._total - done))} left"


def duration(seconds: float) -> str:
    """Seconds in the unit that a reader would choose.

    >>> duration(42.4), duration(540), duration(7260), duration(200_000)
    ('42 s', '9 min', '2 h 1 min', '2 d 7 h')
    """
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


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


@contextmanager
def base_bar(params: "Params", seed: int) -> Iterator[Callable[[str, int, int], None]]:
    """A bar for the block over the training steps of `base`; yields the `on_step` that `base` calls."""
    demo = params.models.demo
    with bar(f"base seed {seed}", demo.student.num_steps + demo.teacher.num_steps) as shown:

        def on_step(role: str, step: int, total: int) -> None:
            done = step + (demo.student.num_steps if role == "teacher" else 0)
            shown.update(done, f"{role} {step}/{total} steps")

        yield on_step
