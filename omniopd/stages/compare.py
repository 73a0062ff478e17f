"""compare: one record per arm and seed, a Markdown table over seeds, and the tables that DVC draws."""

import csv
import io
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from omniopd.config import Params
from omniopd.data.layout import Layout
from omniopd.data.store import read_json, write_atomic, write_json
from omniopd.errors import DataError
from omniopd.report.summary import Record, markdown, summarise, token_budget

CURVES = (
    "validation/greedy",
    "target/mean",
    "k_sem/mean",
    "k_sem_floor/mean",
    "anchor_kl",
    "entropy",
    "response_len",
)
"""What is drawn over rounds and over teacher tokens, as far as a method has it."""


def compare(
    params: Params, layout: Layout, *, arms: Collection[str] = (), seeds: Collection[int] = ()
) -> list[Record]:
    """Write metrics/comparison.json, comparison.md and the plots' tables, and return what was compared.

    Of every run that params list, or of those arms and seeds among them alone.

    Raises:
        DataError: one of them has not been evaluated.
    """
    chosen = [
        (arm, seed) for arm, seed in params.runs if (not arms or arm in arms) and (not seeds or seed in seeds)
    ]
    evaluations: list[Record] = [_evaluation(arm, seed, layout) for arm, seed in chosen]
    write_json(layout.comparison, [_without_curves(found) for found in evaluations])
    text = markdown(
        summarise(evaluations, against=params.comparison.against),
        against=params.comparison.against,
        budget=token_budget(evaluations),
        num_prompts=evaluations[0]["after"]["greedy"]["num_prompts"],
    )
    write_atomic(layout.comparison_table, lambda partial: partial.write_text(text, encoding="utf-8"))
    headline = [found for found in evaluations if found["arm"] in params.arms]
    for name in CURVES:
        _write_csv(layout.plots / f"{name.replace('/', '_')}.csv", mean_curves(headline, name))
    buyers = [found for found in headline if found["teacher_tokens"]]
    _write_csv(layout.plots / "over_teacher_tokens.csv", mean_curves(buyers, "validation/greedy"))
    agreement = [*mean_curves(headline, "k_sem/mean"), *mean_curves(headline, "k_sem_floor/mean", " (floor)")]
    _write_csv(layout.plots / "agreement.csv", agreement)
    _write_csv(layout.plots / "ablations.csv", mean_curves(evaluations, "validation/greedy"))
    return evaluations


def _evaluation(arm: str, seed: int, layout: Layout) -> Record:
    path = layout.evaluation(arm, seed)
    if not path.exists():
        raise DataError(
            f"{path}: there is none; make it with `omniopd evaluate --arm {arm} --seed {seed}`, or compare fewer with "
            "--arm and --seed"
        )
    return read_json(path)


def mean_curves(evaluations: Sequence[Record], name: str, suffix: str = "") -> list[dict[str, Any]]:
    """A curve's mean over the seeds of each arm, by round, with the lowest and the highest of them.

    A t interval of three seeds is wider than what can be: it would hide the curves.
    """
    points: dict[tuple[str, int], list[dict[str, float]]] = defaultdict(list)
    for found in evaluations:
        for point in found["curves"][name]:
            points[found["arm"], int(point["round"])].append(point)
    rows = []
    for (arm, round_), own in points.items():
        values = [point["value"] for point in own]
        rows.append(
            {
                "arm": arm + suffix,
                "round": round_,
                "teacher_tokens": round(sum(point["teacher_tokens"] for point in own) / len(own)),
                "value": sum(values) / len(values),
                "low": min(values),
                "high": max(values),
            }
        )
    return rows


def _without_curves(found: Record) -> Record:
    return {name: value for name, value in found.items() if name != "curves"}


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    text = io.StringIO()
    names = ["arm", "round", "teacher_tokens", "value", "low", "high"]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(path, lambda partial: partial.write_text(text.getvalue(), encoding="utf-8"))
