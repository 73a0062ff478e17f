"""What the arms come to over their seeds: means, intervals, paired differences, and a Markdown table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NotRequired

from typing_extensions import TypedDict

from omniopd.data.metrics import ACCURACY
from omniopd.report.intervals import Mean, mean_interval

Record = dict[str, Any]


class _Accuracy(TypedDict):
    accuracy: float
    interval: list[float]
    num_prompts: int


class _Measured(TypedDict):
    greedy: _Accuracy
    sampled: _Accuracy
    fork_entropy: dict[str, float]
    benchmarks: NotRequired[dict[str, dict[str, Any]]]


class Evaluated(TypedDict):
    """What a Record holds, as it lies in JSON."""

    arm: str
    seed: int
    key: str
    lr: float
    steps: int
    before: _Measured
    after: _Measured
    trained_tokens: int
    student_tokens: int
    teacher_tokens: int
    cost_usd: float
    seconds: dict[str, float]
    curves: NotRequired[dict[str, list[dict[str, float]]]]


ABOUT = 1.01  # runs that were made to buy the same differ by less


@dataclass(frozen=True)
class ArmSummary:
    """One arm over its seeds."""

    arm: str
    lr: float
    steps: int  # of the optimiser
    num_seeds: int
    before: Mean  # greedy accuracy
    after: Mean
    sampled: Mean
    benchmarks: dict[
        str, tuple[Mean, Mean]
    ]  # Pass@1 before and after, of those that all its runs were measured on
    paired: Mean | None  # greedy accuracy beyond that of the arm compared with, over the seeds that both have
    at_budget: Mean | None  # greedy on validation prompts when `budget` teacher tokens had been bought
    student_entropy: float | None  # nats, where the student is least sure
    teacher_entropy: float | None  # the teacher's there
    trained_tokens: float  # a run, as all below
    student_tokens: float
    teacher_tokens: float
    cost_usd: float
    seconds: float


def summarise(records: Sequence[Record], *, against: str | None) -> list[ArmSummary]:
    """The arms in their order of appearance."""
    budget = token_budget(records)
    by_arm: dict[str, list[Record]] = {}
    for record in records:
        by_arm.setdefault(record["arm"], []).append(record)
    other = {record["seed"]: record for record in by_arm.get(against or "", [])}
    return [_summary(arm, own, other if arm != against else {}, budget) for arm, own in by_arm.items()]


def token_budget(records: Sequence[Record]) -> int:
    """The teacher tokens of the cheapest run that buys any: what all that buy are compared at."""
    return min((record["teacher_tokens"] for record in records if record["teacher_tokens"]), default=0)


@dataclass(frozen=True)
class Cells:
    """The comparison as texts: a head, a row an arm, and what the columns mean.

    >>> Cells(["arm", "seeds"], [["sft", "3"]], ["Means over seeds."]).rows[0][1]
    '3'
    """

    names: list[str]
    rows: list[list[str]]
    legend: list[str]


def cells(summaries: Sequence[ArmSummary], *, against: str | None, budget: int, num_prompts: int) -> Cells:
    """The comparison, without the columns that no arm has."""
    beyond = f"beyond `{against}`" if against else ""
    cost = "cost" if any(own.cost_usd for own in summaries) else ""
    benchmarks = list(dict.fromkeys(name for own in summaries for name in own.benchmarks))
    names = [
        "arm", "lr", "steps", "seeds", "greedy", beyond, "sampled", *benchmarks, f"at {_k(budget)} teacher tokens",
        "teacher tokens", cost, "student tokens", "trained tokens", "seconds", "entropy, nats",
    ]  # fmt: skip
    rows = [
        [
            f"`{own.arm}`",
            f"{own.lr:g}",
            str(own.steps),
            str(own.num_seeds),
            f"{own.before.value:.3f} → {_mean(own.after)}",
            _mean(own.paired, sign="+"),
            _mean(own.sampled),
            *(_before_and_after(own.benchmarks.get(name)) for name in benchmarks),
            _mean(own.at_budget),
            _k(own.teacher_tokens),
            dollars(own.cost_usd),
            _k(own.student_tokens),
            _k(own.trained_tokens),
            f"{own.seconds:.0f}",
            _entropies(own),
        ]
        for own in summaries
    ]
    kept = [i for i, name in enumerate(names) if name]
    return Cells(
        [names[i] for i in kept],
        [[row[i] for i in kept] for row in rows],
        _legend(against, budget, num_prompts, benchmarks),
    )


def markdown(summaries: Sequence[ArmSummary], *, against: str | None, budget: int, num_prompts: int) -> str:
    """The comparison as a Markdown table, with what its columns mean."""
    found = cells(summaries, against=against, budget=budget, num_prompts=num_prompts)
    lines = [_line(found.names), _line(["---" if i < 1 else "--:" for i in range(len(found.names))])]
    lines += [_line(row) for row in found.rows]
    return "\n".join([*lines, "", *found.legend]) + "\n"


def _legend(against: str | None, budget: int, num_prompts: int, benchmarks: Sequence[str]) -> list[str]:
    suite = f"{', '.join(f'`{name}`' for name in benchmarks)}: Pass@1, before → after."
    paired = f" `beyond {against}` is the paired difference over seeds." if against else ""
    return [
        f"Accuracy on {num_prompts:,} held-out prompts; means over seeds ± half of a 95 % t interval.{paired} "
        "`steps` are those of the optimiser; tokens, cost and seconds are those of one run, without start-up and "
        "measuring.",
        f"`at {_k(budget)} teacher tokens`: greedy accuracy on validation prompts of the same runs, when each had "
        "last been measured before it had bought more than a hundredth beyond that.",
        *([suite] if benchmarks else []),
        "`entropy`: the student's after its run, where it is least sure, and in parentheses the teacher's there.",
    ]


def _summary(arm: str, own: Sequence[Record], other: dict[int, Record], budget: int) -> ArmSummary:
    def over_seeds(read: Any) -> list[float]:
        return [read(record) for record in own]

    def mean(read: Any) -> float:
        return sum(over_seeds(read)) / len(own)

    after = {record["seed"]: record["after"]["greedy"]["accuracy"] for record in own}
    paired = [
        value - other[seed]["after"]["greedy"]["accuracy"] for seed, value in after.items() if seed in other
    ]
    entropies = [record["after"]["fork_entropy"] for record in own]
    return ArmSummary(
        arm=arm,
        lr=own[0]["lr"],
        steps=own[0]["steps"],
        num_seeds=len(own),
        before=mean_interval(over_seeds(lambda record: record["before"]["greedy"]["accuracy"])),
        after=mean_interval(list(after.values())),
        sampled=mean_interval(over_seeds(lambda record: record["after"]["sampled"]["accuracy"])),
        benchmarks=_benchmarks(own),
        paired=mean_interval(paired) if paired else None,
        at_budget=mean_interval([_at(record, budget) for record in own])
        if all(record["teacher_tokens"] for record in own)
        else None,
        student_entropy=_mean_of([found.get("student") for found in entropies]),
        teacher_entropy=_mean_of([found.get("teacher") for found in entropies]),
        trained_tokens=mean(lambda record: record["trained_tokens"]),
        student_tokens=mean(lambda record: record["student_tokens"]),
        teacher_tokens=mean(lambda record: record["teacher_tokens"]),
        cost_usd=mean(lambda record: record["cost_usd"]),
        seconds=mean(lambda record: sum(record["seconds"].values())),
    )


def _benchmarks(own: Sequence[Record]) -> dict[str, tuple[Mean, Mean]]:
    def over_seeds(when: str, name: str) -> Mean:
        return mean_interval([record[when]["benchmarks"][name]["mean"] for record in own])

    first, *others = [record["after"].get("benchmarks", {}) for record in own]
    return {
        name: (over_seeds("before", name), over_seeds("after", name))
        for name in first
        if all(name in other for other in others)
    }


def _mean_of(values: Sequence[float | None]) -> float | None:
    """The mean, or None where one of the values is missing."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _at(record: Record, budget: int) -> float:
    """Validation accuracy where the run was last measured before it had bought more than about the budget."""
    points = record["curves"][ACCURACY]
    return [point["value"] for point in points if point["teacher_tokens"] <= ABOUT * budget][-1]


def _entropies(own: ArmSummary) -> str:
    if own.student_entropy is None:
        return "–"
    teacher = f" ({own.teacher_entropy:.3f})" if own.teacher_entropy is not None else ""
    return f"{own.student_entropy:.3f}{teacher}"


def _mean(mean: Mean | None, *, sign: str = "") -> str:
    if mean is None:
        return "–"
    return f"{mean.value:{sign}.3f}" + (f" ± {mean.half:.3f}" if mean.half is not None else "")


def _before_and_after(found: tuple[Mean, Mean] | None) -> str:
    return "–" if found is None else f"{found[0].value:.3f} → {_mean(found[1])}"


def _k(count: float) -> str:
    return short_count(round(count)) if count else "0"


def short_count(count: int) -> str:
    """Three digits and a unit.

    >>> short_count(407_569), short_count(1_065_123), short_count(24_000_000), short_count(87)
    ('408 k', '1.07 M', '24 M', '87')
    """
    for size, unit in ((1_000_000, " M"), (1_000, " k")):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return str(count)


def dollars(amount: float) -> str:
    """To the cent; to four digits below one, and to the dollar above a hundred.

    >>> dollars(1234.56), dollars(12.3), dollars(0.0042), dollars(0.0)
    ('$1,235', '$12.30', '$0.0042', '$0.00')
    """
    if amount >= 100:
        return f"${amount:,.0f}"
    return f"${amount:,.2f}" if amount >= 0.01 or amount == 0 else f"${amount:.4f}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
