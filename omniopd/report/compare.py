"""compare: one record per arm and seed, a Markdown table over seeds, and the tables that DVC draws."""

import csv
import io
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from omniopd.config import Params
from omniopd.data import metrics
from omniopd.data.layout import ComparisonLayout, Layout
from omniopd.data.store import read_json, write_atomic, write_json
from omniopd.errors import ConfigError, DataError
from omniopd.report.summary import Evaluated, Record, markdown


def compare(
    params: Params, layout: Layout, *, arms: Collection[str] = (), seeds: Collection[int] = ()
) -> tuple[list[Record], ComparisonLayout]:
    """Write the comparison, its Markdown table and the plots' tables; returns the evaluations and the files' layout.

    Of every run that params list, in metrics/ and plots/; or of those arms and seeds only, in metrics/subset/.

    Raises:
        ConfigError: params list no such run.
        DataError: a run has not been evaluated.
    """
    evaluations, into = compared(params, layout, arms=arms, seeds=seeds)
    records = [{name: value for name, value in one.items() if name != "curves"} for one in evaluations]
    write_json(into.records, records)
    text = markdown(evaluations, against=params.comparison.against)
    write_atomic(into.table, lambda partial: partial.write_text(text, encoding="utf-8"))
    headline = [record for record in evaluations if record["arm"] in params.arms]
    for name in metrics.compared():
        _write_csv(into.plots / f"{name.replace('/', '_')}.csv", mean_curves(headline, name))
    buyers = [record for record in headline if record["teacher_tokens"]]
    _write_csv(into.plots / "over_teacher_tokens.csv", mean_curves(buyers, metrics.ACCURACY))
    agreement = [*mean_curves(headline, "k_sem/mean"), *mean_curves(headline, "k_sem_floor/mean", " (floor)")]
    _write_csv(into.plots / "agreement.csv", agreement)
    _write_csv(into.plots / "ablations.csv", mean_curves(evaluations, metrics.ACCURACY))
    return evaluations, into


def compared(
    params: Params, layout: Layout, *, arms: Collection[str] = (), seeds: Collection[int] = ()
) -> tuple[list[Record], ComparisonLayout]:
    """The evaluations of all runs, or of those arms and seeds, and the layout of their comparison.

    Raises:
        ConfigError, DataError: as `compare`.
    """
    chosen = [
        (arm, seed) for arm, seed in params.runs if (not arms or arm in arms) and (not seeds or seed in seeds)
    ]
    if not chosen:
        listed = [*(f"--arm {arm}" for arm in arms), *(f"--seed {seed}" for seed in seeds)]
        raise ConfigError(
            f"{' '.join(listed)}: params.yaml lists no such run; it has the arms {', '.join(params.every_arm)}, with "
            f"seeds {params.seeds}"
        )
    into = layout.compared if len(chosen) == len(params.runs) else layout.compared_subset
    return [evaluation(arm, seed, layout) for arm, seed in chosen], into


def evaluation(arm: str, seed: int, layout: Layout) -> Record:
    """The record that `omniopd evaluate` wrote.

    Raises:
        DataError: the run has not been evaluated.
    """
    path = layout.evaluation(arm, seed)
    if not path.exists():
        raise DataError(
            f"{path}: does not exist; make it with `omniopd evaluate --arm {arm} --seed {seed}`, or compare fewer runs "
            "with --arm and --seed"
        )
    return read_json(path, like=Evaluated)


def mean_curves(evaluations: Sequence[Record], name: str, suffix: str = "") -> list[dict[str, Any]]:
    """A curve's mean over the seeds of each arm, by round, with the lowest and the highest seed.

    A t interval of three seeds is wider than the possible range: it would hide the curves.
    """
    points: dict[tuple[str, int], list[dict[str, float]]] = defaultdict(list)
    for record in evaluations:
        for point in record["curves"][name]:
            points[record["arm"], int(point["round"])].append(point)
    rows = []
    for (arm, round_), seeds in points.items():
        values = [point["value"] for point in seeds]
        rows.append(
            {
                "arm": arm + suffix,
                "round": round_,
                "teacher_tokens": round(sum(point["teacher_tokens"] for point in seeds) / len(seeds)),
                "value": sum(values) / len(values),
                "low": min(values),
                "high": max(values),
            }
        )
    return rows


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(
        text, ["arm", "round", "teacher_tokens", "value", "low", "high"], lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(path, lambda partial: partial.write_text(text.getvalue(), encoding="utf-8"))
