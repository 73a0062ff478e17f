"""evaluate: held-out accuracy before and after a run, greedy and sampled, and benchmarks; once at the end."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from omniopd.config import Benchmarks
from omniopd.data.layout import Layout
from omniopd.data.prompts import Prompt
from omniopd.data.records import ItemResult
from omniopd.data.store import write_json, write_records
from omniopd.errors import RunError
from omniopd.evaluation import accuracy_of, answered
from omniopd.evaluation.sharpness import fork_entropies
from omniopd.evaluation.subjects import student_of
from omniopd.evaluation.suites import Measured, OnItems, keep_only, measure_suite
from omniopd.grading import failure_counts
from omniopd.models.loading import load_model
from omniopd.models.threads import use_threads
from omniopd.report.compare import CURVES
from omniopd.rounds.ledger import recorded_metrics, seconds_by_stage
from omniopd.rounds.reading import reading
from omniopd.rounds.run import Run

TEMPERATURES = {"greedy": 0.0, "sampled": 1.0}


def evaluate(
    arm: str,
    seed: int,
    layout: Layout,
    variant: str = "",
    *,
    benchmarks: Benchmarks | None = None,
    on_items: OnItems = lambda name, done, total: None,  # noqa: ARG005
) -> dict[str, Any]:
    """Measure the student of (arm, seed) before and after its run, and write the record.

    On the held-out prompts, and on benchmarks, whose `notes` are what is to be known of them.

    Raises:
        RunError: the run is not finished, is being written to, or was replaced meanwhile.
    """
    with reading(layout.run(arm, seed, variant).root, still=True) as run:
        record = _record(run, benchmarks, on_items)
    write_json(layout.evaluation(arm, seed, variant), record)
    accuracies = {
        how: {when: record[when][how]["accuracy"] for when in ("before", "after")} for how in TEMPERATURES
    }
    write_json(layout.heldout(arm, seed, variant), {**accuracies, "teacher_tokens": record["teacher_tokens"]})
    return record


def _record(run: Run, benchmarks: Benchmarks | None, on_items: OnItems) -> dict[str, Any]:
    layout, arm, seed = run.layout, run.config.arm, run.config.seed
    num_rounds = run.config.train.num_rounds
    if not run.has_checkpoint(num_rounds):
        raise RunError(
            f"{run.files.root}: has no checkpoint of its last round ({num_rounds}); finish it first: "
            f"omniopd distill --arm {arm} --seed {seed}"
        )
    use_threads(run.config.compute.num_threads)
    measured = _benchmarks(run, benchmarks, layout.benchmarks(run.files.root.name), on_items)
    heldout, teacher = run.prompts("heldout"), run.readable_teacher()
    students = {
        "before": load_model(run.model_path("student")),
        "after": run.load_student(str(run.files.checkpoint(num_rounds))),
    }
    return {
        "arm": arm,
        "seed": seed,
        "key": run.key,
        "lr": run.config.train.lr,
        "steps": run.config.train.num_steps,
        **{
            when: _accuracies(run, student, heldout, when)
            | {"fork_entropy": fork_entropies(run, student, teacher, heldout)}
            | {"benchmarks": {found.name: found.record for found in measured[when]}}
            for when, student in students.items()
        },
        "notes": list(
            dict.fromkeys(note for own in measured.values() for found in own for note in found.notes)
        ),
        **_totals(run),
    }


def _benchmarks(
    run: Run, suite: Benchmarks | None, into: Path, on_items: OnItems
) -> dict[str, list[Measured]]:
    """What the benchmarks came to before and after; a folder without them where there are none."""
    rounds = {"before": 0, "after": run.config.train.num_rounds}
    if suite is None or not suite.suite:
        keep_only(into, [])
        return {when: [] for when in rounds}
    try:
        measured = {
            when: measure_suite(
                student_of(run, round_), suite, run.layout, into=into / when,
                on_items=lambda name, done, total, when=when: on_items(f"{name} {when}", done, total),
            )
            for when, round_ in rounds.items()
        }  # fmt: skip
    finally:
        run.let_go_of("engine")
    keep_only(into, suite.suite)
    return measured


def _accuracies(run: Run, model: PreTrainedModel, prompts: Sequence[Prompt], when: str) -> dict[str, Any]:
    """The accuracies of a student; its answers are written, a row a prompt."""
    found = {}
    for how, temperature in TEMPERATURES.items():
        results = answered(
            model,
            run.tokenizer,
            prompts,
            temperature=temperature,
            max_new_tokens=run.config.rollout.max_new_tokens,
            settings=run.config.evaluation,
            seed=run.config.seed,
        )
        write_records(run.layout.answers(run.files.root.name, when, how), results, ItemResult)
        found[how] = accuracy_of(results).as_record() | failure_counts(item.reason for item in results)
    return found


def _totals(run: Run) -> dict[str, Any]:
    """Tokens, cost and seconds of the whole run, and its curves."""
    rounds, seconds = recorded_metrics(run.files.root), seconds_by_stage(run)
    names = ("trained_tokens", "student_tokens", "teacher_tokens", "teacher_prompt_tokens")
    return {
        **{name: round(sum(row.get(name, 0.0) for row in rounds)) for name in names},
        "cost_usd": sum(row.get("cost_usd", 0.0) for row in rounds),
        "seconds": {stage: round(total, 1) for stage, total in seconds.items()},
        "curves": {name: _curve(rounds, name) for name in CURVES},
    }


def _curve(rounds: Sequence[dict[str, Any]], name: str) -> list[dict[str, float]]:
    bought, points = 0.0, []
    for row in rounds:
        if name in row:
            points.append({"round": row["round"], "teacher_tokens": round(bought), "value": row[name]})
        bought += row.get("teacher_tokens", 0.0)
    return points
