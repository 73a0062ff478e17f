"""table: the comparison as a reader sees it, in a terminal of 80 columns."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table

from omniopd.data.layout import Layout
from omniopd.data.store import read_json
from omniopd.report.intervals import Mean
from omniopd.report.summary import ArmSummary, dollars, short_count

WHEN_AND_HOW = [(when, how) for how in ("greedy", "sampled") for when in ("before", "after")]
STEPS = ("validate", "roll out", "schedule", "verify", "train")
"""The steps of a round, in their order."""


def accuracy_table(records: Sequence[dict[str, Any]]) -> Table:
    """Accuracy of each arm and seed, before and after, each with its interval."""
    num_prompts = records[0]["after"]["greedy"]["num_prompts"]
    result = _table(f"Accuracy on {num_prompts:,} held-out prompts, with 95 % intervals")
    for when, how in WHEN_AND_HOW:
        result.add_column(f"{how}\n{when}", justify="right", min_width=12)
    for record in records:
        result.add_row(
            record["arm"],
            str(record["seed"]),
            *(_accuracy(record[when][how]) for when, how in WHEN_AND_HOW),
        )
    return result


def summary_table(summaries: Sequence[ArmSummary], *, against: str | None) -> Table:
    """The arms over their seeds: means, each with half of its 95 % interval below it."""
    result = Table(title="Means over seeds", title_justify="left", box=box.SIMPLE_HEAD, padding=0)
    result.add_column("arm")
    names = ("seeds", "lr", "greedy\nbefore", "greedy\nafter", f"beyond\n{against}", "sampled\nafter")
    for name in (*names, "teacher\ntokens", "seconds"):
        result.add_column(name, justify="right")
    for own in summaries:
        result.add_row(
            own.arm,
            str(own.num_seeds),
            f"{own.lr:g}",
            f"{own.before.value:.3f}",
            _short_mean(own.after),
            _short_mean(own.paired, sign="+"),
            _short_mean(own.sampled),
            short_count(round(own.teacher_tokens)),
            f"{own.seconds:.0f}",
        )
    return result


def cost_table(records: Sequence[dict[str, Any]]) -> Table:
    """Tokens of each run, with what was paid for them, and its seconds by step of a round."""
    result = _table("Tokens generated, and seconds by step of a round")
    for name in (
        "student\ntokens",
        "teacher\ntokens",
        *(step.replace(" ", "\n") for step in STEPS),
        "all",
    ):
        result.add_column(name, justify="right")
    for record in records:
        seconds = record["seconds"]
        result.add_row(
            record["arm"],
            str(record["seed"]),
            short_count(record["student_tokens"]),
            _bought(record),
            *(f"{seconds[step]:.0f}" if step in seconds else "–" for step in STEPS),
            f"{sum(seconds.values()):.0f}",
        )
    return result


def seconds_line(records: Sequence[dict[str, Any]], layout: Layout) -> str:
    """What each stage of the pipeline took when it last ran for these runs, start-up included."""
    seeds = list(dict.fromkeys(str(record["seed"]) for record in records))
    runs = [f"{record['arm']}-{record['seed']}" for record in records]
    seconds: dict[str, list[float]] = defaultdict(list)
    for stage, names in {"prepare": seeds, "base": seeds, "distill": runs, "evaluate": runs}.items():
        for path in (layout.seconds(f"{stage}@{name}") for name in names):
            if path.exists():
                seconds[stage].append(read_json(path, "seconds")["seconds"])
    stages = ", ".join(
        f"{stage} {' + '.join(f'{value:.0f}' for value in own)} s" for stage, own in seconds.items()
    )
    return f"Where the time went: {stages}; {sum(map(sum, seconds.values())):.0f} s in all"


def _table(title: str) -> Table:
    result = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0)
    result.add_column("arm")
    result.add_column("seed")
    return result


def _accuracy(record: dict[str, Any]) -> str:
    low, high = record["interval"]
    return f"{record['accuracy']:.3f}\n{low:.3f}–{high:.3f}"


def _bought(record: dict[str, Any]) -> str:
    tokens, cost = short_count(record["teacher_tokens"]), record["cost_usd"]
    return f"{tokens}\n{dollars(cost)}" if cost else tokens


def _short_mean(mean: Mean | None, *, sign: str = "") -> str:
    if mean is None:
        return "–"
    return f"{mean.value:{sign}.3f}" + (f"\n± {mean.half:.3f}" if mean.half is not None else "")
