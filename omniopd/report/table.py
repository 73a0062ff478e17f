"""table: the comparison, for a terminal of 80 columns."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table

from omniopd.data.layout import Layout
from omniopd.data.store import read_json
from omniopd.report.summary import ArmSummary, dollars, mean_text, short_count

WHEN_AND_HOW = [(when, how) for how in ("greedy", "sampled") for when in ("before", "after")]
STEPS = ("validate", "roll out", "schedule", "verify", "train")  # of a round, in order


def accuracy_table(records: Sequence[dict[str, Any]]) -> Table:
    """The accuracy of each arm and seed, before and after, with intervals."""
    num_prompts = records[0]["after"]["greedy"]["num_prompts"]
    result = _table(f"Accuracy on {num_prompts:,} held-out prompts, with 95 % intervals")
    for when, how in WHEN_AND_HOW:
        result.add_column(f"{how}\n{when}", justify="right", min_width=12)
    for record in records:
        cells = []
        for when, how in WHEN_AND_HOW:
            low, high = record[when][how]["interval"]
            cells.append(f"{record[when][how]['accuracy']:.3f}\n{low:.3f}–{high:.3f}")
        result.add_row(record["arm"], str(record["seed"]), *cells)
    return result


def summary_table(summaries: Sequence[ArmSummary], *, against: str | None) -> Table:
    """The arms over their seeds: means, with half of the 95 % interval below."""
    result = Table(title="Means over seeds", title_justify="left", box=box.SIMPLE_HEAD, padding=0)
    result.add_column("arm")
    names = ("seeds", "lr", "greedy\nbefore", "greedy\nafter", f"beyond\n{against}", "sampled\nafter")
    for name in (*names, "teacher\ntokens", "seconds"):
        result.add_column(name, justify="right")
    for summary in summaries:
        result.add_row(
            summary.arm,
            str(summary.num_seeds),
            f"{summary.lr:g}",
            f"{summary.before.value:.3f}",
            mean_text(summary.after, separator="\n"),
            mean_text(summary.paired, sign="+", separator="\n"),
            mean_text(summary.sampled, separator="\n"),
            short_count(round(summary.teacher_tokens)),
            f"{summary.seconds:.0f}",
        )
    return result


def cost_table(records: Sequence[dict[str, Any]]) -> Table:
    """The tokens of each run, their cost, and the seconds by step of a round."""
    result = _table("Tokens generated, and seconds by step of a round")
    steps = [step.replace(" ", "\n") for step in STEPS]
    for name in ("student\ntokens", "teacher\ntokens", *steps, "all"):
        result.add_column(name, justify="right")
    for record in records:
        seconds, cost = record["seconds"], record["cost_usd"]
        result.add_row(
            record["arm"],
            str(record["seed"]),
            short_count(record["student_tokens"]),
            short_count(record["teacher_tokens"]) + (f"\n{dollars(cost)}" if cost else ""),
            *(f"{seconds[step]:.0f}" if step in seconds else "–" for step in STEPS),
            f"{sum(seconds.values()):.0f}",
        )
    return result


def seconds_line(records: Sequence[dict[str, Any]], layout: Layout) -> str:
    """The seconds of each pipeline stage when it last ran for these runs, start-up included."""
    seeds = list(dict.fromkeys(str(record["seed"]) for record in records))
    runs = [f"{record['arm']}-{record['seed']}" for record in records]
    seconds: dict[str, list[float]] = defaultdict(list)
    for stage, names in {"prepare": seeds, "base": seeds, "distill": runs, "evaluate": runs}.items():
        for path in (layout.seconds(f"{stage}@{name}") for name in names):
            if path.exists():
                seconds[stage].append(read_json(path, "seconds")["seconds"])
    stages = ", ".join(
        f"{stage} {' + '.join(f'{value:.0f}' for value in values)} s" for stage, values in seconds.items()
    )
    return f"Where the time went: {stages}; {sum(map(sum, seconds.values())):.0f} s in all"


def _table(title: str) -> Table:
    result = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0)
    result.add_column("arm")
    result.add_column("seed")
    return result
