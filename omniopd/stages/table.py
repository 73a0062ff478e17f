"""table: the comparison as a reader sees it, in a terminal of 80 columns."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table

from omniopd.data.layout import Layout
from omniopd.data.store import read_json

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


def cost_table(records: Sequence[dict[str, Any]]) -> Table:
    """Tokens of each run, and its seconds by step of a round."""
    result = _table("Tokens generated, and seconds by step of a round")
    for name in ("student\ntokens", "teacher\ntokens", *(step.replace(" ", "\n") for step in STEPS), "all"):
        result.add_column(name, justify="right")
    for record in records:
        seconds = record["seconds"]
        result.add_row(
            record["arm"],
            str(record["seed"]),
            _short(record["student_tokens"]),
            _short(record["teacher_tokens"]),
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
                seconds[stage].append(read_json(path)["seconds"])
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


def _short(count: int) -> str:
    """Three digits and a unit.

    >>> _short(407_569), _short(1_065_123), _short(24_000_000), _short(87)
    ('408 k', '1.07 M', '24 M', '87')
    """
    for size, unit in ((1_000_000, " M"), (1_000, " k")):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return str(count)
