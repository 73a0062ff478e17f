"""The curves of a page: which metrics are drawn together, and their points."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from omniopd.data.metrics import ACCURACY, LOSS_PARTS, METRICS
from omniopd.data.metrics import charts as metrics_by_chart
from omniopd.report.page.facts import total

Rounds = Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class Line:
    """One metric over the rounds; None where a round has none.

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
    """What is drawn of a run, as far as its rounds have it.

    rounds: in order, with the number as `round`. Where dollars were paid the sum paid is drawn, with its budget.
    """
    found = []
    for title, metrics in metrics_by_chart().items():
        labels = {name: metric.label for name, metric in metrics.items()}
        if "loss" in metrics:
            parts = sorted({name for row in rounds for name in row if name.startswith(LOSS_PARTS)})
            labels |= {name: name.removeprefix(LOSS_PARTS) for name in parts}
        found.append(_chart(title, next(iter(metrics.values())).unit, labels, rounds))
        if ACCURACY in metrics:
            found.append(_over_teacher_tokens(rounds))
    found.append(_spend(rounds, budget_usd))
    return [chart for chart in found if chart.lines]


def _chart(title: str, unit: str, metrics: Mapping[str, str], rounds: Rounds) -> Chart:
    own = [row for row in rounds if any(name in row for name in metrics)]
    lines = [
        Line(shown, [row.get(name) for row in own])
        for name, shown in metrics.items()
        if any(name in row for row in own)
    ]
    return Chart(title, "round", unit, [row["round"] for row in own], lines)


def _over_teacher_tokens(rounds: Rounds) -> Chart:
    """Accuracy over the teacher tokens that had been bought when it was measured; empty where none were."""
    measured = [(i, row) for i, row in enumerate(rounds) if ACCURACY in row]
    bought = [total(rounds[:i], "teacher_tokens") for i, _ in measured]
    line = Line(METRICS[ACCURACY].label, [row[ACCURACY] for _, row in measured])
    return Chart(
        "Accuracy over teacher tokens",
        "teacher tokens",
        METRICS[ACCURACY].unit,
        bought,
        [line] if any(bought) else [],
    )


def _spend(rounds: Rounds, budget_usd: float | None) -> Chart:
    """The dollars paid up to the end of each round."""
    own = [row for row in rounds if "cost_usd" in row]
    paid = [total(own[: i + 1], "cost_usd") for i in range(len(own))]
    lines = [Line("paid", list(paid))] if any(paid) else []
    if lines and budget_usd is not None:
        lines.append(Line("budget", [budget_usd] * len(own)))
    return Chart("Spend", "round", "dollars", [row["round"] for row in own], lines)
