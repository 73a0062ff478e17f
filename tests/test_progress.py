"""The time left: at the pace of the current work, whatever was done before or is restarted."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from omniopd import progress


def lines(monkeypatch: pytest.MonkeyPatch, calls: list[tuple[str, float, int]], total: int) -> list[str]:
    """What a bar prints after these (method, seconds, done) calls, where standard error is not a terminal."""
    now, written = 0.0, io.StringIO()
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now))
    with progress.bar("it", total, console=Console(file=written, width=10)) as shown:
        for call, now, done in calls:  # noqa: B007 (the clock reads it)
            getattr(shown, call)(done)
    return written.getvalue().splitlines()


def test_the_time_left_is_at_the_pace_so_far(monkeypatch: pytest.MonkeyPatch):
    assert lines(monkeypatch, [("update", 20.0, 1), ("update", 40.0, 2), ("update", 60.0, 3)], 3) == [
        "it: 1/3, 40 s left",
        "it: 2/3, 20 s left",
        "it: 3/3",
    ]


def test_skipped_work_does_not_count_for_the_pace(monkeypatch: pytest.MonkeyPatch):
    calls = [("skip_to", 0.0, 1), ("skip_to", 0.0, 60), ("update", 20.0, 61), ("update", 40.0, 62)]
    assert lines(monkeypatch, calls, 80) == ["it: 61/80, 6 min left", "it: 62/80, 6 min left"]


def test_restarted_work_restarts_the_estimate(monkeypatch: pytest.MonkeyPatch):
    calls = [("update", 400.0, 100), ("update", 416.0, 10), ("update", 432.0, 14)]
    assert lines(monkeypatch, calls, 110)[1:] == ["it: 10/110", "it: 14/110, 6 min left"]


def test_a_bar_in_a_terminal_goes_back_too():
    written = io.StringIO()
    with progress.bar("it", 10, console=Console(file=written, width=100, force_terminal=True)) as shown:
        shown.skip_to(4)
        shown.update(5)
        shown.update(2, "again")
    assert "2/10" in written.getvalue()
