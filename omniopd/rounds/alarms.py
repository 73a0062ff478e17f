"""Alarms: from the metrics of a round and of those before it to what is known to end badly; they change no result."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from omniopd.config.schema import Alarms
from omniopd.data.metrics import ACCURACY, Rule, rules
from omniopd.data.store import read_json
from omniopd.rounds.run import open_run

PREFIX = "alarm/"  # of the metric, 0 or 1, that says whether one rings
WINDOW = (
    20  # rounds whose gradient norms are compared with, and of silence after which an alarm is told of anew
)
LEAST = 5  # gradient norms that make a median


def alarm_metrics(
    settings: Alarms, metrics: Mapping[str, float], earlier: Sequence[Mapping[str, float]]
) -> dict[str, float]:
    """`alarm/<name>`, 0 or 1, for each alarm that is on and whose metric the run has.

    metrics: of the round; earlier: of rounds before it, in order. One that is no number rings.
    """
    found = {}
    for name, rule in rules().items():
        limit = _limit(name, rule, settings, earlier)
        if limit is None or name not in metrics:
            continue
        value = metrics[name]
        found[PREFIX + name] = float(not _is_quiet(value, rule, limit))
    return found


def begun(
    settings: Alarms, metrics: Mapping[str, float], earlier: Sequence[Mapping[str, float]]
) -> list[str]:
    """A sentence for each alarm that rings in a round and in none of those before: what, how much, why, what to do."""
    lines = []
    for name in ringing(metrics):
        rule = rules().get(name)
        if rule is None or any(name in ringing(row) for row in earlier):
            continue
        limit = _limit(name, rule, settings, earlier)
        if limit is not None:  # else it was turned off since
            what = rule.what.format(value=metrics[name], limit=limit)
            setting = getattr(settings, name)
            lines.append(f"{what} (alarms.{name}: {setting:g}), usually because {rule.why}; {rule.remedy}")
    return lines


def ringing(metrics: Mapping[str, float]) -> list[str]:
    """The names of the alarms that ring in a round."""
    return [name.removeprefix(PREFIX) for name, value in metrics.items() if name.startswith(PREFIX) and value]


def earlier_metrics(run_dir: Path, round_: int) -> list[dict[str, float]]:
    """The metrics of up to WINDOW rounds before that one, in order, from their manifests."""
    manifests = map(open_run(run_dir).files.manifest, range(max(0, round_ - WINDOW), round_))
    return [read_json(path, "metrics")["metrics"] for path in manifests if path.exists()]


def accuracy_metrics(run_dir: Path, round_: int, accuracy: float) -> dict[str, float]:
    """The validation accuracy before a round, and how far it is below the best of the run up to there (0 at best)."""
    run = open_run(run_dir)
    manifests = map(run.files.manifest, range(0, round_, run.config.train.validate_every))
    earlier = [
        read_json(path, "metrics")["metrics"].get(ACCURACY, 0.0) for path in manifests if path.exists()
    ]
    drop = round(max([accuracy, *earlier]) - accuracy, 9)  # 0.4 − 0.3 is not beyond 0.1
    return {ACCURACY: accuracy, "accuracy_drop": drop}


def begun_in(run_dir: Path, round_: int) -> list[str]:
    """The sentences of the alarms that begin in a completed round."""
    run = open_run(run_dir)
    metrics = read_json(run.files.manifest(round_), "metrics")["metrics"]
    lines = begun(run.config.alarms, metrics, earlier_metrics(run_dir, round_))
    return [f"{run.files.root.name}: round {round_}: {line}" for line in lines]


def _is_quiet(value: float, rule: Rule, limit: float) -> bool:
    """Whether a value lies where no alarm rings; one that is no number never does."""
    match rule.sense:
        case "below":
            return value >= limit
        case "not above":
            return value > limit
    return value <= limit


def _limit(name: str, rule: Rule, settings: Alarms, earlier: Sequence[Mapping[str, float]]) -> float | None:
    """The value at which the alarm begins to ring; None where it is off."""
    limit: float | None = getattr(settings, name, None)
    if limit is None or rule.sense != "times":
        return limit
    # Where no response was right there was no gradient, and beside that any is large.
    before = [row[name] for row in earlier[-WINDOW:] if 0 < row.get(name, 0.0) < math.inf]
    return limit * median(before) if len(before) >= LEAST else math.inf
