"""What stands at the head of a page: the run's settings and what it came to, in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from omniopd.data.metrics import ACCURACY
from omniopd.report.page.story import RunStory
from omniopd.report.summary import dollars, short_count


@dataclass(frozen=True)
class Fact:
    """A line of a table of two columns.

    >>> Fact("learning rate", "0.0003").value
    '0.0003'
    """

    name: str
    value: str


@dataclass(frozen=True)
class Seconds:
    """What a stage took.

    >>> Seconds("train", 12.5, 0.25).share
    0.25
    """

    stage: str
    seconds: float
    share: float  # of all stages


def tables(story: RunStory) -> dict[str, list[Fact]]:
    """The facts of a run by the heading that they stand under."""
    return {
        "Run": _run(story),
        f"Method: {story.config.method_name}": _settings(story.config.method.model_dump()),
        "Models and data": _inputs(story),
        "Spend": _spend(story),
    }


def seconds_by_stage(story: RunStory) -> list[Seconds]:
    """The stages, the longest first."""
    total = sum(story.seconds.values())
    longest = sorted(story.seconds.items(), key=lambda item: (-item[1], item[0]))
    return [Seconds(stage, value, value / total if total else 0.0) for stage, value in longest]


def _run(story: RunStory) -> list[Fact]:
    config, measured = story.config, [row for row in story.rounds if ACCURACY in row]
    accuracy = " → ".join(f"{row[ACCURACY]:.3f}" for row in measured[:1] + measured[1:][-1:])
    num_done = sum("loss" in row for row in story.rounds)
    return [
        Fact("arm", config.arm),
        Fact("seed", str(config.seed)),
        Fact("rounds", f"{num_done} of {config.train.num_rounds}"),
        Fact("learning rate", f"{config.train.lr:g}"),
        Fact("accuracy on validation prompts, greedy", accuracy or "not measured"),
        Fact("key", story.key),
    ]


def _settings(settings: Mapping[str, object]) -> list[Fact]:
    return [Fact(name, "by default" if value is None else str(value)) for name, value in settings.items()]


def _inputs(story: RunStory) -> list[Fact]:
    config = story.config
    teacher = f"{story.models.get('teacher', config.teacher.model)} ({config.teacher.kind})"
    return [
        Fact("student", story.models.get("student", config.models.student)),
        Fact("teacher", teacher),
        Fact("prompts", config.prompts.source),
        *(Fact(f"digest of {name}", digest) for name, digest in sorted(story.inputs.items())),
    ]


def _spend(story: RunStory) -> list[Fact]:
    teacher, rounds = story.config.teacher, story.rounds
    written, read = total(rounds, "teacher_tokens"), total(rounds, "teacher_prompt_tokens")
    cost = total(rounds, "cost_usd")
    not_graded = total(rounds, "grader_failures")
    return [
        Fact("teacher tokens written", short_count(round(written))),
        Fact("teacher tokens read", short_count(round(read))),
        Fact("student tokens", short_count(round(total(rounds, "student_tokens")))),
        Fact("cost", dollars(cost)),
        Fact("budget, dollars", _of_budget(cost, teacher.budget_usd)),
        Fact("budget, tokens", _of_budget(written + read, teacher.budget_tokens)),
        Fact("requests that failed", f"{total(rounds, 'teacher_failures'):.0f}"),
        *([Fact("responses not graded", f"{not_graded:.0f}")] if not_graded else []),
    ]


def _of_budget(spent: float, budget: float | None) -> str:
    if budget is None:
        return "none was set"
    return f"{spent:,.6g} of {budget:,.6g}" + (f" ({spent / budget:.1%})" if budget else "")


def total(rounds: Sequence[Mapping[str, float]], name: str) -> float:
    """A metric's sum over the rounds."""
    return sum(row.get(name, 0.0) for row in rounds)
