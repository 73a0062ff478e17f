"""What was measured on a checkpoint: accuracy before and after, with intervals."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omniopd.data.metrics import ACCURACY
from omniopd.data.store import read_json
from omniopd.errors import DataError
from omniopd.report.summary import Evaluated, Record, mean_text, summarise
from omniopd.rounds.ledger import recorded_metrics
from omniopd.rounds.run import Run, open_run


@dataclass(frozen=True)
class Result:
    """A row of the table of results.

    >>> Result("gsm8k, Pass@1", "0.412 (0.386–0.439)", "0.655 (0.629–0.680)").after
    '0.655 (0.629–0.680)'
    """

    name: str
    before: str
    after: str


def evaluations(run: Run) -> list[Record]:
    """The records of `omniopd evaluate`: that of the run, then those of its arm's other seeds with the same settings.

    Empty where the run itself was not evaluated.
    """
    arm, seed, variant = _parts(run)
    record = _record(run)
    if record is None:
        return []
    names = re.compile(rf"{re.escape(arm)}-(\d+){re.escape(variant)}\.json")
    matches = filter(None, (names.fullmatch(path.name) for path in run.layout.evaluations.iterdir()))
    seeds = sorted(int(match[1]) for match in matches)
    others = (_record_of_seed(run, other, variant) for other in seeds if other != seed)
    return [record, *filter(None, others)]


def _parts(run: Run) -> tuple[str, int, str]:
    """Arm, seed and the suffix of the run's folder."""
    arm, seed = run.config.arm, run.config.seed
    return arm, seed, run.files.root.name.removeprefix(f"{arm}-{seed}")


def _record(run: Run) -> Record | None:
    """The record of a run; None where it has none, or one of other settings or inputs."""
    path = run.layout.evaluation(*_parts(run))
    if not path.is_file():
        return None
    record = read_json(path, like=Evaluated)
    return record if record["key"] == run.key else None


def _record_of_seed(run: Run, seed: int, variant: str) -> Record | None:
    try:
        other = open_run(run.layout.run(run.config.arm, seed, variant).root)
    except DataError:  # its folder is not here
        return None
    same = {**other.config.determining(), "seed": run.config.seed} == run.config.determining()
    return _record(other) if same else None


def results(run: Run, round_: int, records: list[Record]) -> list[Result]:
    """The accuracies on validation prompts up to the checkpoint; after the last round, also those of the records."""
    rows = _validation(run, round_)
    if not records or round_ < run.config.train.num_rounds:
        return rows
    record = records[0]
    num_prompts = record["after"]["greedy"]["num_prompts"]
    for how in ("greedy", "sampled"):
        scores = [record[when][how] for when in ("before", "after")]
        rows.append(
            Result(f"{num_prompts:,} held-out prompts, {how}", *map(_with_interval, scores, ["accuracy"] * 2))
        )
    for name, score in record["after"].get("benchmarks", {}).items():
        before = record["before"]["benchmarks"][name]
        rows.append(Result(f"{name}, Pass@1", _with_interval(before, "mean"), _with_interval(score, "mean")))
    return rows + _over_seeds(records)


def _validation(run: Run, round_: int) -> list[Result]:
    metrics = recorded_metrics(run.files.root, range(round_ + 1))
    accuracies = {round(row["round"]): row[ACCURACY] for row in metrics if ACCURACY in row}
    if round_ not in accuracies or 0 not in accuracies:
        return []
    name = f"{run.config.prompts.num_validation:,} validation prompts, greedy"
    return [Result(name, f"{accuracies[0]:.3f}", f"{accuracies[round_]:.3f}")]


def _over_seeds(records: list[Record]) -> list[Result]:
    if len(records) == 1:
        return []
    (summary,) = summarise(records, against=None)
    pairs = {"held-out prompts, greedy": (summary.before, summary.after), **summary.benchmarks}
    return [
        Result(f"{name}: mean of {len(records)} seeds", mean_text(before), mean_text(after))
        for name, (before, after) in pairs.items()
    ]


def _with_interval(score: Mapping[str, Any], name: str) -> str:
    """A share with its interval.

    >>> _with_interval({"accuracy": 0.5, "interval": [0.4, 0.6]}, "accuracy")
    '0.500 (0.400–0.600)'
    """
    interval = score.get("interval")
    return f"{score[name]:.3f}" + (f" ({interval[0]:.3f}–{interval[1]:.3f})" if interval else "")
