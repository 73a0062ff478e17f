"""Runs in MLflow, their files and their reproductions, as tables for a terminal of 80 columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Compared:
    """Digests of one kind: how many the new run has as MLflow recorded them, and the first that differs.

    >>> Compared("rounds", 9, 10, "verdicts/round-0004.parquet").num_same
    9
    """

    what: str
    num_same: int
    num_recorded: int
    first_other: str = ""


def runs_table(runs: Sequence[dict[str, Any]]) -> str:
    """A row for each run."""
    if not runs:
        return "MLflow has no run of this experiment"
    rows = [
        (run["run_id"][:8], run["name"], run["status"].lower(), run["num_rounds"], run["begun"])
        for run in runs
    ]
    return _aligned([("run", "name", "status", "rounds", "begun (UTC)"), *rows])


def files_table(run: dict[str, Any]) -> str:
    """The run in a line, then a row for each of its files."""
    rows: list[Sequence[object]] = [("round", "file", "rows", "md5", "where")]
    for file in run["files"]:
        place = file["place"] or {"kind": "nowhere"}
        where = f"remote {place['name']}" if place["kind"] == "remote" else place["kind"]
        rows.append((file["round"], file["name"], file["num_rows"], file["digest"][:12], where))
    title = f"run {run['run_id']}: {run['name']}, {run['status'].lower()}, {run['begun']} UTC"
    return f"{title}\n{_aligned(rows)}"


def compared_table(compared: Sequence[Compared]) -> str:
    """A row for each kind of digest."""
    rows = [(kind.what, kind.num_same, kind.num_recorded, kind.first_other or "–") for kind in compared]
    return _aligned([("what", "the same", "of", "first that differs"), *rows])


def _aligned(rows: Sequence[Sequence[object]]) -> str:
    widths = [max(len(str(value)) for value in column) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(str(value).ljust(width) for value, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
