"""Runs and their files as a reader sees them, in a terminal of 80 columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Compared:
    """Digests of one kind: how many the new run has as MLflow recorded them, and the first that it has not.

    >>> Compared("rounds", 9, 10, "verdicts/round-0004.parquet").num_same
    9
    """

    what: str
    num_same: int
    num_recorded: int
    first_other: str = ""


def runs_table(runs: Sequence[dict[str, Any]]) -> str:
    """A line a run."""
    if not runs:
        return "MLflow knows no run of this experiment"
    names = ("run", "name", "status", "rounds", "begun (UTC)")
    rows = [
        (run["run_id"][:8], run["name"], run["status"].lower(), run["num_rounds"], run["begun"])
        for run in runs
    ]
    return _aligned([names, *rows])


def files_table(run: dict[str, Any]) -> str:
    """What a run is, then a line a file."""
    title = f"run {run['run_id']}: {run['name']}, {run['status'].lower()}, {run['begun']} UTC"
    rows = [
        (file["round"], file["name"], file["num_rows"], file["digest"][:12], _place(file["place"]))
        for file in run["files"]
    ]
    return f"{title}\n{_aligned([('round', 'file', 'rows', 'md5', 'where'), *rows])}"


def compared_table(compared: Sequence[Compared]) -> str:
    """A line a kind of digest: how many came out the same, and the first that did not."""
    names = ("what", "the same", "of", "first that differs")
    rows = [(found.what, found.num_same, found.num_recorded, found.first_other or "–") for found in compared]
    return _aligned([names, *rows])


def _place(place: dict[str, str] | None) -> str:
    if place is None:
        return "nowhere"
    return f"remote {place['name']}" if place["kind"] == "remote" else place["kind"]


def _aligned(rows: Sequence[Sequence[object]]) -> str:
    widths = [max(len(str(value)) for value in column) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(str(value).ljust(width) for value, width in zip(row, widths, strict=True)) for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)
