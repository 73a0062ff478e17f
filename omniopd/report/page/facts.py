"""The head of a run's page: its settings and results, in words."""

from omniopd.data.metrics import ACCURACY
from omniopd.report.page.story import RunStory
from omniopd.report.summary import dollars, short_count, total


def tables(story: RunStory) -> dict[str, dict[str, str]]:
    """The facts of a run: tables of two columns, by their heading."""
    settings = story.config.method.model_dump()
    return {
        "Run": _run(story),
        f"Method: {story.config.method_name}": {
            name: "by default" if value is None else str(value) for name, value in settings.items()
        },
        "Models and data": _inputs(story),
        "Spend": _spend(story),
    }


def seconds_by_stage(story: RunStory) -> list[tuple[str, float, float]]:
    """Each stage with its seconds and its share of all, the longest first."""
    total_s = sum(story.seconds.values())
    longest = sorted(story.seconds.items(), key=lambda item: (-item[1], item[0]))
    return [(stage, seconds, seconds / total_s if total_s else 0.0) for stage, seconds in longest]


def _run(story: RunStory) -> dict[str, str]:
    config, measured = story.config, [row for row in story.rounds if ACCURACY in row]
    accuracy = " → ".join(f"{row[ACCURACY]:.3f}" for row in measured[:1] + measured[1:][-1:])
    num_done = sum("loss" in row for row in story.rounds)
    return {
        "arm": config.arm,
        "seed": str(config.seed),
        "rounds": f"{num_done} of {config.train.num_rounds}",
        "learning rate": f"{config.train.lr:g}",
        "accuracy on validation prompts, greedy": accuracy or "not measured",
        "key": story.key,
    }


def _inputs(story: RunStory) -> dict[str, str]:
    config = story.config
    teacher = story.models.get("teacher", config.teacher.model)
    return {
        "student": story.models.get("student", config.models.student),
        "teacher": f"{teacher} ({config.teacher.kind})",
        "prompts": config.prompts.source,
        **{f"digest of {name}": digest for name, digest in sorted(story.inputs.items())},
    }


def _spend(story: RunStory) -> dict[str, str]:
    teacher, rounds = story.config.teacher, story.rounds
    written, read = total(rounds, "teacher_tokens"), total(rounds, "teacher_prompt_tokens")
    cost = total(rounds, "cost_usd")
    facts = {
        "teacher tokens written": short_count(round(written)),
        "teacher tokens read": short_count(round(read)),
        "student tokens": short_count(round(total(rounds, "student_tokens"))),
        "cost": dollars(cost),
        "budget, dollars": _of_budget(cost, teacher.budget_usd),
        "budget, tokens": _of_budget(written + read, teacher.budget_tokens),
        "requests that failed": f"{total(rounds, 'teacher_failures'):.0f}",
    }
    if not_graded := total(rounds, "grader_failures"):
        facts["responses not graded"] = f"{not_graded:.0f}"
    return facts


def _of_budget(spent: float, budget: float | None) -> str:
    if budget is None:
        return "none was set"
    return f"{spent:,.6g} of {budget:,.6g}" + (f" ({spent / budget:.1%})" if budget else "")
