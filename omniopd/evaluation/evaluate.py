"""evaluate: held-out accuracy, greedy and sampled, and benchmarks, before and after a run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from omniopd.config import Benchmarks
from omniopd.config.benchmarks import Measurement, measurements
from omniopd.data.layout import Layout
from omniopd.data.metrics import compared
from omniopd.data.prompts import Prompt
from omniopd.data.records import ItemResult
from omniopd.data.store import write_json, write_records
from omniopd.errors import RunError
from omniopd.evaluation.kept import KeptSampler
from omniopd.evaluation.sharpness import Forks, entropy_at, forks_of, sampled_rows
from omniopd.evaluation.subjects import engine_of, saved_student, student_of
from omniopd.evaluation.suites import BATCHES_A_PART, Measured, OnItems, keep_only, measure_suite
from omniopd.grading import failure_counts
from omniopd.grading.accuracy import WAYS, accuracy_record, answered
from omniopd.models.threads import use_threads
from omniopd.rounds.ledger import recorded_metrics, seconds_by_stage
from omniopd.rounds.reading import reading
from omniopd.rounds.run import Run
from omniopd.sampling.responses import Writer
from omniopd.sampling.samplers import batches


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

    It is measured on the held-out prompts and on the benchmarks; `notes` are remarks on the benchmarks.

    Raises:
        RunError: the run is not finished, is being written to, or was replaced meanwhile.
    """
    with reading(layout.run(arm, seed, variant).root, still=True) as run:
        record = _record(run, benchmarks, on_items)
    write_json(layout.evaluation(arm, seed, variant), record)
    accuracies = {how: {when: record[when][how]["accuracy"] for when in ("before", "after")} for how in WAYS}
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
    suite = measurements(benchmarks or Benchmarks(), layout.root, system=run.config.prompts.system)
    use_threads(run.config.compute.num_threads)
    folder = layout.benchmarks(run.files.root.name)
    try:
        students = {
            when: _measured_student(run, round_, when, suite, folder / when, on_items)
            for when, round_ in (("before", 0), ("after", num_rounds))
        }
    finally:
        run.models.release("engine")
    keep_only(folder, [one.benchmark.name for one in suite])
    teacher = run.models.readable_teacher()
    measured = [result for student in students.values() for result in student.benchmarks]
    return {
        "arm": arm,
        "seed": seed,
        "key": run.key,
        "lr": run.config.train.lr,
        "steps": run.config.train.num_steps,
        **{
            when: student.accuracies
            | {"fork_entropy": _fork_entropies(run, student, teacher)}
            | {"benchmarks": {result.name: result.record for result in student.benchmarks}}
            for when, student in students.items()
        },
        "notes": list(dict.fromkeys(note for result in measured for note in result.notes)),
        **_totals(run),
    }


@dataclass(frozen=True)
class _Student:
    """A student's results, measured while it was in memory."""

    accuracies: dict[str, Any]
    benchmarks: list[Measured]
    forks: list[Forks]
    fork_entropy: float | None


def _measured_student(
    run: Run, round_: int, when: str, suite: Sequence[Measurement], into: Path, on_items: OnItems
) -> _Student:
    """Load the student before that round, once, and measure it on benchmarks and held-out prompts."""
    config, heldout, student = run.config, run.prompts("heldout"), saved_student(run, round_)
    with run.models.writer(student) as writer:
        measured = measure_suite(
            student_of(run, writer), suite, run.layout, into=into,
            on_items=lambda name, done, total: on_items(f"{name} {when}", done, total),
        )  # fmt: skip
        teacher_chat = run.models.teacher_chat if run.models.teacher_is_readable else None
        keeping = _keeping(run, writer, config.rollout.batch_size)
        rows = sampled_rows(keeping, heldout, config, teacher_chat=teacher_chat)
    with run.models.writer(student, batch_size=config.evaluation.batch_size) as writer:
        keeping = _keeping(run, writer, config.evaluation.batch_size)
        accuracies = _accuracies(run, keeping, heldout, when, on_items)
    forks, entropy = forks_of(student.model, rows, batch_size=config.rollout.batch_size)
    return _Student(accuracies, measured, forks, entropy)


def _keeping(run: Run, writer: Writer, batch_size: int) -> Writer:
    """The writer, whose samples are kept for the other arms and the next measurement."""
    engine = {**engine_of(run.config), "batch_size": batch_size}
    return replace(
        writer, sampler=KeptSampler(writer.sampler, run.layout, weights=writer.weights, engine=engine)
    )


def _fork_entropies(run: Run, student: _Student, teacher: PreTrainedModel | None) -> dict[str, float]:
    """Mean entropies in nats at the student's forks, of the student and of a teacher with readable weights."""
    entropies = {"student": student.fork_entropy}
    if teacher is not None:
        entropies["teacher"] = entropy_at(teacher, student.forks, batch_size=run.config.rollout.batch_size)
    return {who: entropy for who, entropy in entropies.items() if entropy is not None}


def _accuracies(
    run: Run, writer: Writer, prompts: Sequence[Prompt], when: str, on_items: OnItems
) -> dict[str, Any]:
    """The accuracies of a student; its answers are written, a row for each prompt."""
    accuracies, settings = {}, run.config.evaluation
    for how, decoding in settings.decodings(run.config.rollout.stop).items():
        results: list[ItemResult] = []
        for part in batches(prompts, BATCHES_A_PART * settings.batch_size):
            results += answered(
                writer,
                part,
                decoding=decoding,
                max_new_tokens=run.config.rollout.max_new_tokens,
                settings=settings,
                seed=run.config.seed,
            )
            on_items(f"held-out prompts {when}, {how}", len(results), len(prompts))
        write_records(run.layout.answers(run.files.root.name, when, how), results, ItemResult)
        accuracies[how] = accuracy_record(results) | failure_counts(item.reason for item in results)
    return accuracies


def _totals(run: Run) -> dict[str, Any]:
    """Tokens, cost and seconds of the whole run, and its curves."""
    rounds, seconds = recorded_metrics(run.files.root), seconds_by_stage(run)
    names = ("trained_tokens", "student_tokens", "teacher_tokens", "teacher_prompt_tokens")
    return {
        **{name: round(sum(row.get(name, 0.0) for row in rounds)) for name in names},
        "cost_usd": sum(row.get("cost_usd", 0.0) for row in rounds),
        "seconds": {stage: round(total, 1) for stage, total in seconds.items()},
        "curves": {name: _curve(rounds, name) for name in compared()},
    }


def _curve(rounds: Sequence[dict[str, Any]], name: str) -> list[dict[str, float]]:
    teacher_tokens, points = 0.0, []
    for row in rounds:
        if name in row:
            points.append(
                {"round": row["round"], "teacher_tokens": round(teacher_tokens), "value": row[name]}
            )
        teacher_tokens += row.get("teacher_tokens", 0.0)
    return points
