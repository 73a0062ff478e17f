"""The curves of a run's page: which metrics are drawn together, and their points."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from omniopd.data.metrics import ACCURACY, LOSS_PARTS, METRICS
from omniopd.data.metrics import charts as metrics_by_chart
from omniopd.report.summary import total

Rounds = Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class Line:
    """One metric over the rounds; None where a round lacks it.

    >>> Line("greedy", [0.44, None, 0.61]).values[2]
    0.61
    """

    name: str
    values: list[float | None]


@dataclass(frozen=True)
class Chart:
    """Lines over one axis.

    >>> Chart("Entropy", "round", "nats a token", [0, 1], [Line("entropy", [0.5, 0.4])]).x
    [0, 1]
    """

    title: str
    x_name: str
    y_name: str
    x: list[float]
    lines: list[Line]


def charts(rounds: Rounds, *, budget_usd: float | None = None) -> list[Chart]:
    """The charts of a run, of the metrics that its rounds have.

    rounds: in order, with the number as `round`. If anything was paid, the spend is drawn with its budget.
    """
    drawn = []
    for title, metrics in metrics_by_chart().items():
        labels = {name: metric.label for name, metric in metrics.items()}
        if "loss" in metrics:
            parts = sorted({name for row in rounds for name in row if name.startswith(LOSS_PARTS)})
            labels |= {name: name.removeprefix(LOSS_PARTS) for name in parts}
        drawn.append(_chart(title, next(iter(metrics.values())).unit, labels, rounds))
        if ACCURACY in metrics:
            drawn.append(_over_teacher_tokens(rounds))
    drawn.append(_spend(rounds, budget_usd))
    return [chart for chart in drawn if chart.lines]


def _chart(title: str, unit: str, metrics: Mapping[str, str], rounds: Rounds) -> Chart:
    rows = [row for row in rounds if any(name in row for name in metrics)]
    lines = [
        Line(label, [row.get(name) for row in rows])
        for name, label in metrics.items()
        if any(name in row for row in rows)
    ]
    return Chart(title, "round", unit, [row["round"] for row in rows], lines)


def _over_teacher_tokens(rounds: Rounds) -> Chart:
    """Accuracy over the teacher tokens bought before it was measured; without a line if none were."""
    measured = [(i, row) for i, row in enumerate(rounds) if ACCURACY in row]
    bought = [total(rounds[:i], "teacher_tokens") for i, _ in measured]
    metric = METRICS[ACCURACY]
    lines = [Line(metric.label, [row[ACCURACY] for _, row in measured])] if any(bought) else []
    return Chart("Accuracy over teacher tokens", "teacher tokens", metric.unit, bought, lines)


def _spend(rounds: Rounds, budget_usd: float | None) -> Chart:
    """The dollars paid up to the end of each round."""
    rows = [row for row in rounds if "cost_usd" in row]
    paid: list[float | None] = [*accumulate(row["cost_usd"] for row in rows)]
    lines = [Line("paid", paid)] if any(paid) else []
    if lines and budget_usd is not None:
        lines.append(Line("budget", [budget_usd] * len(rows)))
    return Chart("Spend", "round", "dollars", [row["round"] for row in rows], lines)
