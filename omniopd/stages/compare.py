"""compare: one record per arm and seed, and the tables that DVC draws."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(
        text, ["arm", "round", "teacher_tokens", "value"], extrasaction="ignore", lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(path, lambda partial: partial.write_text(text.getvalue(), encoding="utf-8"))
