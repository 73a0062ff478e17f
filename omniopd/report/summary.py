"""The arms over their seeds: means, intervals, paired differences, and a Markdown table."""

from collections.abc import Mapping, Sequence
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
    """The fields of a Record, as in its JSON file."""

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


ABOUT = 1.01  # of the budget: runs with the same budget differ by less


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
    benchmarks: dict[str, tuple[Mean, Mean]]  # Pass@1 before and after, for benchmarks that all its runs have
    paired: Mean | None  # greedy accuracy minus that of the arm compared with, over the seeds that both have
    at_budget: Mean | None  # greedy on validation prompts when the token budget was spent
    student_entropy: float | None  # nats, where the student is least sure
    teacher_entropy: float | None  # at the same positions
    trained_tokens: float  # per run, as all below
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
    baseline = {record["seed"]: record for record in by_arm.get(against or "", [])}
    return [
        _summary(arm, of_arm, baseline if arm != against else {}, budget) for arm, of_arm in by_arm.items()
    ]


def token_budget(records: Sequence[Record]) -> int:
    """The teacher tokens of the cheapest run that buys any, at which all runs that buy tokens are compared."""
    return min((record["teacher_tokens"] for record in records if record["teacher_tokens"]), default=0)


@dataclass(frozen=True)
class Cells:
    """The comparison as texts: a header, a row for each arm, and the meaning of the columns.

    >>> Cells(["arm", "seeds"], [["sft", "3"]], ["Means over seeds."]).rows[0][1]
    '3'
    """

    names: list[str]
    rows: list[list[str]]
    legend: list[str]


def cells(records: Sequence[Record], *, against: str | None) -> Cells:
    """The comparison, without the columns that no arm has."""
    summaries, budget = summarise(records, against=against), token_budget(records)
    beyond = f"beyond `{against}`" if against else ""
    cost = "cost" if any(one.cost_usd for one in summaries) else ""
    benchmarks = list(dict.fromkeys(name for one in summaries for name in one.benchmarks))
    names = [
        "arm", "lr", "steps", "seeds", "greedy", beyond, "sampled", *benchmarks, f"at {_k(budget)} teacher tokens",
        "teacher tokens", cost, "student tokens", "trained tokens", "seconds", "entropy, nats",
    ]  # fmt: skip
    rows = [
        [
            f"`{one.arm}`",
            f"{one.lr:g}",
            str(one.steps),
            str(one.num_seeds),
            _change(one.before, one.after),
            mean_text(one.paired, sign="+"),
            mean_text(one.sampled),
            *(_change(*one.benchmarks.get(name, (None, None))) for name in benchmarks),
            mean_text(one.at_budget),
            _k(one.teacher_tokens),
            dollars(one.cost_usd),
            _k(one.student_tokens),
            _k(one.trained_tokens),
            f"{one.seconds:.0f}",
            _entropies(one),
        ]
        for one in summaries
    ]
    rows = [[text for name, text in zip(names, row, strict=True) if name] for row in rows]
    return Cells(list(filter(None, names)), rows, _legend(records, against, budget, benchmarks))


def markdown(records: Sequence[Record], *, against: str | None) -> str:
    """The comparison as a Markdown table, with the meaning of its columns."""
    table = cells(records, against=against)
    rows = [table.names, ["---", *["--:"] * (len(table.names) - 1)], *table.rows]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, "", *table.legend]) + "\n"


def _legend(
    records: Sequence[Record], against: str | None, budget: int, benchmarks: Sequence[str]
) -> list[str]:
    num_prompts = records[0]["after"]["greedy"]["num_prompts"]
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


def _summary(arm: str, records: Sequence[Record], baseline: dict[int, Record], budget: int) -> ArmSummary:
    def accuracy(when: str, how: str) -> Mean:
        return mean_interval([record[when][how]["accuracy"] for record in records])

    def mean(name: str) -> float:
        return sum(record[name] for record in records) / len(records)

    paired = [
        record["after"]["greedy"]["accuracy"] - baseline[record["seed"]]["after"]["greedy"]["accuracy"]
        for record in records
        if record["seed"] in baseline
    ]
    buys = all(record["teacher_tokens"] for record in records)
    entropies = [record["after"]["fork_entropy"] for record in records]
    return ArmSummary(
        arm=arm,
        lr=records[0]["lr"],
        steps=records[0]["steps"],
        num_seeds=len(records),
        before=accuracy("before", "greedy"),
        after=accuracy("after", "greedy"),
        sampled=accuracy("after", "sampled"),
        benchmarks=_benchmarks(records),
        paired=mean_interval(paired) if paired else None,
        at_budget=mean_interval([_at(record, budget) for record in records]) if buys else None,
        student_entropy=_mean_of(entropies, "student"),
        teacher_entropy=_mean_of(entropies, "teacher"),
        trained_tokens=mean("trained_tokens"),
        student_tokens=mean("student_tokens"),
        teacher_tokens=mean("teacher_tokens"),
        cost_usd=mean("cost_usd"),
        seconds=sum(sum(record["seconds"].values()) for record in records) / len(records),
    )


def _benchmarks(records: Sequence[Record]) -> dict[str, tuple[Mean, Mean]]:
    def over_seeds(when: str, name: str) -> Mean:
        return mean_interval([record[when]["benchmarks"][name]["mean"] for record in records])

    first, *others = [record["after"].get("benchmarks", {}) for record in records]
    return {
        name: (over_seeds("before", name), over_seeds("after", name))
        for name in first
        if all(name in other for other in others)
    }


def _mean_of(records: Sequence[Mapping[str, float]], name: str) -> float | None:
    """The mean of a field, or None where one of the records lacks it."""
    if not all(name in record for record in records):
        return None
    return sum(record[name] for record in records) / len(records)


def _at(record: Record, budget: int) -> float:
    """Validation accuracy at the last measurement before the run had bought more than about the budget."""
    points = record["curves"][ACCURACY]
    return [point["value"] for point in points if point["teacher_tokens"] <= ABOUT * budget][-1]


def _entropies(summary: ArmSummary) -> str:
    if summary.student_entropy is None:
        return "–"
    teacher = f" ({summary.teacher_entropy:.3f})" if summary.teacher_entropy is not None else ""
    return f"{summary.student_entropy:.3f}{teacher}"


def mean_text(mean: Mean | None, *, sign: str = "", separator: str = " ") -> str:
    """A mean with half of its interval, or a dash.

    >>> mean_text(Mean(0.9, 0.25)), mean_text(Mean(0.9, None), sign="+"), mean_text(None)
    ('0.900 ± 0.250', '+0.900', '–')
    """
    if mean is None:
        return "–"
    return f"{mean.value:{sign}.3f}" + (f"{separator}± {mean.half:.3f}" if mean.half is not None else "")


def _change(before: Mean | None, after: Mean | None) -> str:
    return "–" if before is None else f"{before.value:.3f} → {mean_text(after)}"


def _k(count: float) -> str:
    return short_count(round(count)) if count else "0"


def total(rounds: Sequence[Mapping[str, float]], name: str) -> float:
    """A metric's sum over the rounds."""
    return sum(row.get(name, 0.0) for row in rounds)


def short_count(count: int) -> str:
    """A count in three digits and a unit.

    >>> short_count(407_569), short_count(1_065_123), short_count(24_000_000), short_count(87)
    ('408 k', '1.07 M', '24 M', '87')
    """
    for size, unit in ((1_000_000, " M"), (1_000, " k")):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return str(count)


def dollars(amount: float) -> str:
    """An amount to the cent; to four digits below a cent, and to the dollar from a hundred on.

    >>> dollars(1234.56), dollars(12.3), dollars(0.0042), dollars(0.0)
    ('$1,235', '$12.30', '$0.0042', '$0.00')
    """
    if amount >= 100:
        return f"${amount:,.0f}"
    return f"${amount:,.2f}" if amount >= 0.01 or amount == 0 else f"${amount:.4f}"
