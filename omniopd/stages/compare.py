"""compare: one record per arm and seed, the tables that DVC draws, and the table that a reader sees."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from omniopd.config import Params
from omniopd.data.layout import Layout
from omniopd.data.store import read_json, write_atomic, write_json

CURVES = (
    "validation/greedy",
    "target/mean",
    "k_sem/mean",
    "k_sem_floor/mean",
    "anchor_kl",
    "entropy",
    "response_len",
)
"""What is drawn over rounds and over teacher tokens."""


def compare(params: Params, layout: Layout) -> list[dict[str, Any]]:
    """Write metrics/comparison.json and the plots' tables, and return the records.

    Raises:
        DataError: an arm has not been evaluated.
    """
    evaluations = [read_json(layout.evaluation(arm, seed)) for arm in params.arms for seed in params.seeds]
    records = [{name: value for name, value in found.items() if name != "curves"} for found in evaluations]
    write_json(layout.comparison, records)
    for name in CURVES:
        rows = [
            {"arm": f"{found['arm']}-{found['seed']}", **point}
            for found in evaluations
            for point in found["curves"][name]
        ]
        _write_csv(layout.plots / f"{name.replace('/', '_')}.csv", rows)
    return records


def accuracy_table(records: Sequence[dict[str, Any]]) -> Table:
    """The comparison as a table for the terminal."""
    num_prompts = records[0]["after"]["greedy"]["num_prompts"]
    result = Table(
        title=f"Accuracy on {num_prompts:,} held-out prompts (95 % interval)", title_justify="left"
    )
    for name in ("arm", "seed"):
        result.add_column(name)
    for name in ("greedy before", "greedy after", "sampled before", "sampled after"):
        result.add_column(name, justify="right")
    for name in ("student tokens", "teacher tokens", "seconds"):
        result.add_column(name, justify="right")
    for record in records:
        result.add_row(
            record["arm"],
            str(record["seed"]),
            *(_accuracy(record[when][how]) for how in ("greedy", "sampled") for when in ("before", "after")),
            f"{record['student_tokens']:,}",
            f"{record['teacher_tokens']:,}",
            _seconds(record["seconds"]),
        )
    return result


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(
        text, ["arm", "round", "teacher_tokens", "value"], extrasaction="ignore", lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(path, lambda partial: partial.write_text(text.getvalue(), encoding="utf-8"))


def _accuracy(record: dict[str, Any]) -> str:
    low, high = record["interval"]
    return f"{record['accuracy']:.3f} [{low:.3f}, {high:.3f}]"


def seconds_line(layout: Layout) -> str:
    """What each stage took when it last ran, start-up included."""
    seconds = {
        path.stem: read_json(path)["seconds"] for path in sorted(layout.seconds("").parent.glob("*.json"))
    }
    stages = ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
    return f"Where the time went: {stages}; {sum(seconds.values()):.0f} s in all"


def _seconds(seconds: dict[str, float]) -> str:
    stages = ", ".join(f"{name} {value:.0f}" for name, value in seconds.items())
    return f"{sum(seconds.values()):.0f} ({stages})"
