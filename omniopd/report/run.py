"""One run in a page of Markdown, for those who look at where it ran."""

from collections.abc import Mapping, Sequence

from omniopd.config import RunConfig
from omniopd.data.metrics import ACCURACY
from omniopd.report.summary import dollars, short_count


def run_summary(config: RunConfig, rounds: Sequence[Mapping[str, float]], *, page: str) -> str:
    """What a run came to: accuracy from beginning to end, what the teacher wrote and cost, and where it lies.

    rounds: the metrics of its completed rounds, in order. page: its address in MLflow, empty where there is none.
    """
    measured = [row for row in rounds if ACCURACY in row]
    teacher_tokens, cost = _total(rounds, "teacher_tokens"), _total(rounds, "cost_usd")
    not_graded = _total(rounds, "grader_failures")
    lines = [
        f"# {config.arm}, seed {config.seed}",
        "",
        "| | |",
        "|---|---|",
        f"| method | `{config.method_name}` |",
        f"| learning rate | {config.train.lr:g} |",
        f"| rounds | {sum('loss' in row for row in rounds)} of {config.train.num_rounds} |",
        f"| greedy on validation prompts | {_first_and_last(measured)} |",
        f"| teacher tokens | {short_count(round(teacher_tokens))} |",
        *([f"| cost | {dollars(cost)} |"] if cost else []),
        f"| requests that failed | {_total(rounds, 'teacher_failures'):.0f} |",
        *([f"| responses not graded | {not_graded:.0f} |"] if not_graded else []),
        f"| alarms | {_alarms(rounds)} |",
        *([f"| MLflow | [run]({page}) |"] if page else []),
    ]
    return "\n".join(lines) + "\n"


def _first_and_last(measured: Sequence[Mapping[str, float]]) -> str:
    if not measured:
        return "not measured"
    return " → ".join(f"{row[ACCURACY]:.3f}" for row in (measured[0], measured[-1]))


def _alarms(rounds: Sequence[Mapping[str, float]]) -> str:
    """Which alarms rang, in how many rounds and from which one on."""
    rang: dict[str, list[int]] = {}
    for row in rounds:
        for name in (name for name, value in row.items() if name.startswith("alarm/") and value):
            rang.setdefault(name.removeprefix("alarm/"), []).append(round(row["round"]))
    listed = [
        f"{name} in {len(at)} round{'s' * (len(at) > 1)}, first in {at[0]}"
        for name, at in sorted(rang.items())
    ]
    return "; ".join(listed) or "none"


def _total(rounds: Sequence[Mapping[str, float]], name: str) -> float:
    return sum(row.get(name, 0.0) for row in rounds)
