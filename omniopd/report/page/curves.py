"""The curves of a page: which metrics are drawn together, and their points."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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


DRAWN = {
    "Target": ("", {"target/mean": "target, mean", "target/std": "target, spread"}),
    "Agreement with the teacher's replies": (
        "k_sem",
        {"k_sem/mean": "k_sem", "k_sem_floor/mean": "floor: replies to other chunks"},
    ),
    "Votes for what the student wrote": ("share", {"agreement/mean": "agreement"}),
    "Reward": ("", {"reward/mean": "reward, mean", "reward/std": "reward, spread"}),
    "Divergence from the initial student": ("nats a token", {"anchor_kl": "anchor KL"}),
    "Entropy": ("nats a token", {"entropy": "student", "audited_entropy": "where it was audited"}),
    "Response length": ("tokens", {"response_len": "mean length"}),
    "Responses cut, and loops": ("share", {"cut_share": "cut at the limit", "repetition": "in loops"}),
}
"""By title: the unit, and the metrics with what they are called; a method has some of them."""

LOSS = "loss/"  # how the names of the loss's parts begin


def charts(rounds: Rounds, *, budget_usd: float | None = None) -> list[Chart]:
    """What is drawn of a run, as far as its rounds have it.

    rounds: in order, with the number as `round`. Where dollars were paid the sum paid is drawn, with its budget.
    """
    found = [_chart("Accuracy over rounds", "share", {"validation/greedy": "greedy, validation"}, rounds)]
    found.append(_over_teacher_tokens(rounds))
    parts = sorted({name for row in rounds for name in row if name.startswith(LOSS)})
    loss = {"loss": "loss", **{name: name.removeprefix(LOSS) for name in parts}}
    found.append(_chart("Loss and its parts", "nats a sequence", loss, rounds))
    found += [_chart(title, unit, metrics, rounds) for title, (unit, metrics) in DRAWN.items()]
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
    measured = [(i, row) for i, row in enumerate(rounds) if "validation/greedy" in row]
    bought = [total(rounds[:i], "teacher_tokens") for i, _ in measured]
    line = Line("greedy, validation", [row["validation/greedy"] for _, row in measured])
    return Chart(
        "Accuracy over teacher tokens", "teacher tokens", "share", bought, [line] if any(bought) else []
    )


def _spend(rounds: Rounds, budget_usd: float | None) -> Chart:
    """The dollars paid up to the end of each round."""
    own = [row for row in rounds if "cost_usd" in row]
    paid = [total(own[: i + 1], "cost_usd") for i in range(len(own))]
    lines = [Line("paid", list(paid))] if any(paid) else []
    if lines and budget_usd is not None:
        lines.append(Line("budget", [budget_usd] * len(own)))
    return Chart("Spend", "round", "dollars", [row["round"] for row in own], lines)
