"""One run on a page of Markdown, for Prefect's UI."""

from collections.abc import Mapping, Sequence

from omniopd.config import RunConfig
from omniopd.data.metrics import ACCURACY
from omniopd.report.summary import dollars, short_count, total
from omniopd.rounds.alarms import ringing


def run_summary(config: RunConfig, rounds: Sequence[Mapping[str, float]], *, page: str) -> str:
    """The results of a run: accuracy from beginning to end, the teacher's tokens and cost, and the alarms.

    rounds: the metrics of its completed rounds, in order. page: its address in MLflow, empty where there is none.
    """
    accuracy = _accuracy(rounds) or "not measured"
    cost, not_graded = total(rounds, "cost_usd"), total(rounds, "grader_failures")
    lines = [
        f"# {config.arm}, seed {config.seed}",
        "",
        "| | |",
        "|---|---|",
        f"| method | `{config.method_name}` |",
        f"| learning rate | {config.train.lr:g} |",
        f"| rounds | {sum('loss' in row for row in rounds)} of {config.train.num_rounds} |",
        f"| greedy on validation prompts | {accuracy} |",
        f"| teacher tokens | {short_count(round(total(rounds, 'teacher_tokens')))} |",
        *([f"| cost | {dollars(cost)} |"] if cost else []),
        f"| requests that failed | {total(rounds, 'teacher_failures'):.0f} |",
        *([f"| responses not graded | {not_graded:.0f} |"] if not_graded else []),
        f"| alarms | {_alarms(rounds)} |",
        *([f"| MLflow | [run]({page}) |"] if page else []),
    ]
    return "\n".join(lines) + "\n"


def progress_note(rounds: Sequence[Mapping[str, float]]) -> str:
    """What a progress line says of the rounds so far: greedy accuracy, the teacher's tokens and their cost.

    >>> progress_note([{"validation/greedy": 0.2, "teacher_tokens": 512, "cost_usd": 0.25}])
    'greedy 0.200 on validation prompts, 512 teacher tokens, $0.25'
    """
    accuracy, cost = _accuracy(rounds), total(rounds, "cost_usd")
    tokens = round(total(rounds, "teacher_tokens"))
    parts = [
        f"greedy {accuracy} on validation prompts" if accuracy else "",
        f"{short_count(tokens)} teacher tokens" if tokens else "",
        dollars(cost) if cost else "",
    ]
    return ", ".join(filter(None, parts))


def _accuracy(rounds: Sequence[Mapping[str, float]]) -> str:
    """Greedy accuracy at the first and the last measurement; empty without any."""
    measured = [f"{row[ACCURACY]:.3f}" for row in rounds if ACCURACY in row]
    return " → ".join(dict.fromkeys([measured[0], measured[-1]])) if measured else ""


def _alarms(rounds: Sequence[Mapping[str, float]]) -> str:
    """The alarms that rang, each with the number of rounds and the first of them."""
    rang: dict[str, list[int]] = {}
    for row in rounds:
        for name in ringing(row):
            rang.setdefault(name, []).append(round(row["round"]))
    listed = [
        f"{name} in {len(at)} round{'s' * (len(at) > 1)}, first in {at[0]}"
        for name, at in sorted(rang.items())
    ]
    return "; ".join(listed) or "none"
