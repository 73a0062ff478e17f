"""Alarms: warnings about a round whose metrics are known to end badly. They change no result."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from omniopd.config.schema.tracking import Alarms
from omniopd.data.metrics import ACCURACY, Rule, rules
from omniopd.data.store import read_json
from omniopd.rounds.ledger import recorded_metrics
from omniopd.rounds.run import open_run

PREFIX = "alarm/"  # of the metric, 0 or 1, that says whether one rings
WINDOW = 20  # earlier rounds: for the median gradient norm, and in which an alarm is reported once
MIN_NORMS = 5  # for a median


def alarm_metrics(
    settings: Alarms, metrics: Mapping[str, float], earlier: Sequence[Mapping[str, float]]
) -> dict[str, float]:
    """`alarm/<name>`, 0 or 1, for each alarm that is on and whose metric the run has.

    metrics: of the round; earlier: of the rounds before it, in order. NaN rings.
    """
    states = {}
    for name, rule in rules().items():
        limit = _limit(name, rule, settings, earlier)
        if limit is None or name not in metrics:
            continue
        states[PREFIX + name] = float(not _is_quiet(metrics[name], rule, limit))
    return states


def begun(
    settings: Alarms, metrics: Mapping[str, float], earlier: Sequence[Mapping[str, float]]
) -> list[str]:
    """For each alarm that rings in a round and in no earlier one: what, the limit, the usual cause, the remedy."""
    lines = []
    for name in ringing(metrics):
        rule = rules().get(name)
        if rule is None or any(name in ringing(row) for row in earlier):
            continue
        limit = _limit(name, rule, settings, earlier)
        if limit is not None:  # else it has been turned off since
            what = rule.what.format(value=metrics[name], limit=limit)
            setting = getattr(settings, name)
            lines.append(f"{what} (alarms.{name}: {setting:g}), usually because {rule.why}; {rule.remedy}")
    return lines


def ringing(metrics: Mapping[str, float]) -> list[str]:
    """The names of the alarms that ring in a round."""
    return [name.removeprefix(PREFIX) for name, value in metrics.items() if name.startswith(PREFIX) and value]


def earlier_metrics(run_dir: Path, round_: int) -> list[dict[str, float]]:
    """The metrics of up to WINDOW rounds before that one, in order, from their manifests."""
    return recorded_metrics(run_dir, range(max(0, round_ - WINDOW), round_))


def accuracy_metrics(run_dir: Path, round_: int, accuracy: float) -> dict[str, float]:
    """The validation accuracy before a round, and its drop below the best of the run so far."""
    validated = range(0, round_, open_run(run_dir).config.train.validate_every)
    earlier = [row.get(ACCURACY, 0.0) for row in recorded_metrics(run_dir, validated)]
    drop = round(max([accuracy, *earlier]) - accuracy, 9)  # 0.4 − 0.3 is not beyond 0.1
    return {ACCURACY: accuracy, "accuracy_drop": drop}


def begun_in(run_dir: Path, round_: int) -> list[str]:
    """A sentence for each alarm that begins in a completed round."""
    run = open_run(run_dir)
    metrics = read_json(run.files.manifest(round_), "metrics")["metrics"]
    lines = begun(run.config.alarms, metrics, earlier_metrics(run_dir, round_))
    return [f"{run.files.root.name}: round {round_}: {line}" for line in lines]


def _is_quiet(value: float, rule: Rule, limit: float) -> bool:
    """Whether a value rings no alarm; NaN always rings."""
    match rule.sense:
        case "below":
            return value >= limit
        case "not above":
            return value > limit
    return value <= limit


def _limit(name: str, rule: Rule, settings: Alarms, earlier: Sequence[Mapping[str, float]]) -> float | None:
    """The value at which the alarm rings; None if it is off."""
    limit: float | None = getattr(settings, name, None)
    if limit is None or rule.sense != "times":
        return limit
    # A round in which no response was right has no gradient, and any norm is large against zero.
    norms = [row[name] for row in earlier[-WINDOW:] if 0 < row.get(name, 0.0) < math.inf]
    return limit * median(norms) if len(norms) >= MIN_NORMS else math.inf
