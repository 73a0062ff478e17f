"""Runs and their files as a reader sees them, in a terminal of 80 columns."""

from collections.abc import Sequence
from typing import Any


def runs_table(runs: Sequence[dict[str, Any]]) -> str:
    """A line a run."""
    if not runs:
        return "MLflow knows no run of this experiment"
    names = ("run", "arm", "seed", "status", "rounds", "begun (UTC)")
    rows = [
        (run["run_id"][:8], run["arm"], run["seed"], run["status"].lower(), run["num_rounds"], run["begun"])
        for run in runs
    ]
    return _aligned([names, *rows])


def files_table(run: dict[str, Any]) -> str:
    """What a run is, then a line a file."""
    title = (
        f"run {run['run_id']}: {run['arm']}, seed {run['seed']}, {run['status'].lower()}, {run['begun']} UTC"
    )
    rows = [
        (file["round"], file["name"], file["num_rows"], file["digest"][:12], _place(file["place"]))
        for file in run["files"]
    ]
    return f"{title}\n{_aligned([('round', 'file', 'rows', 'md5', 'where'), *rows])}"


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
