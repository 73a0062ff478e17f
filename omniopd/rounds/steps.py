"""The steps of a round, each skipped if its receipt is valid: roll out, schedule, verify, train, validate."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from omniopd.data.prompts import Prompt, prompts_of_round
from omniopd.data.receipts import valid_receipt, work_key, write_receipt
from omniopd.data.records import STUDENT, Reward, Trajectory, Verdict
from omniopd.data.store import read_records, write_records
from omniopd.functional import repetition
from omniopd.grading import rewards
from omniopd.grading.accuracy import accuracy_of, answered
from omniopd.grading.graders import grader_of
from omniopd.methods import Annotated
from omniopd.models.threads import use_threads
from omniopd.rounds import state
from omniopd.rounds.alarms import accuracy_metrics, alarm_metrics, earlier_metrics
from omniopd.rounds.failures import audited_share, stop_at_failures
from omniopd.rounds.ledger import complete_round, due_checkpoints, failures_of_round
from omniopd.rounds.rollout import rollouts, scored, shard
from omniopd.rounds.run import Run, open_run
from omniopd.sampling.samplers import batches
from omniopd.teachers import solutions
from omniopd.teachers.verify import Anchored, verify
from omniopd.training import parallel


def roll_out(run_dir: Path, round_: int, index: int) -> Path:
    """One shard of the round's responses: the student's, or the teacher's for a method that trains on its text."""
    run = open_run(run_dir)
    use_threads(run.config.compute.num_threads)
    settings = run.config.rollout
    name = f"rollout-{index}-of-{settings.num_shards}"
    path = run.files.shard(round_, name)

    def work() -> None:
        prompts = prompts_of_round(
            run.prompts("train"), round_, count=settings.num_prompts, seed=run.config.seed
        )
        batch_size = settings.batch_size // settings.num_samples
        prompts = shard(prompts, index, num_shards=settings.num_shards, batch_size=batch_size)
        write = _solutions if run.config.method.source == "teacher" else _rollouts
        write_records(path, write(run, round_, prompts), Trajectory)

    return _once(run, round_, name, path, work, stage="roll out")


def _rollouts(run: Run, round_: int, prompts: Sequence[Prompt]) -> list[Trajectory]:
    settings, student = run.config.rollout, state.rollout_student(run, round_)
    with run.models.writer(student) as writer:
        return rollouts(
            writer,
            prompts,
            round_=round_,
            num_samples=settings.num_samples,
            max_new_tokens=settings.max_new_tokens,
            decoding=settings.decoding,
            seed=run.config.seed,
            staleness=round_ - settings.weights_of(round_),
        )


def _solutions(run: Run, round_: int, prompts: Sequence[Prompt]) -> list[Trajectory]:
    settings = run.config.rollout
    return solutions(
        prompts,
        teacher=run.models.teacher,
        temperature=run.config.method.teacher_temperature,
        chat=run.models.chat,
        student=state.rollout_student(run, round_).digest,
        round_=round_,
        num_samples=settings.num_samples,
        max_new_tokens=settings.max_new_tokens,
        seed=run.config.seed,
        stop=settings.stop,
        prompt_of=run.teacher_prompt,
    )


def schedule(run_dir: Path, round_: int, shards: Sequence[Path]) -> Path:
    """The round's trajectories: the shards in order, with entropies of the trainer's forward pass or the sampler's."""
    run = open_run(run_dir)
    use_threads(run.config.compute.num_threads)
    path = run.files.trajectories(round_)

    def work() -> None:
        responses = [response for shard_path in shards for response in read_records(shard_path, Trajectory)]
        stop_at_failures(responses, shards, most=run.config.teacher.max_failed_share, round_=round_)
        whole = [response for response in responses if not response.failure]
        failed = [response for response in responses if response.failure]
        if not run.config.has_sampler_scores:
            whole = scored(
                state.rollout_student(run, round_), whole, batch_size=run.config.rollout.batch_size
            )
        write_records(path, [*whole, *failed], Trajectory)

    return _once(run, round_, "schedule", path, work, stage="schedule")


def verify_shard(run_dir: Path, round_: int, index: int) -> Path:
    """The verdicts on one shard of the round's trajectories."""
    run = open_run(run_dir)
    use_threads(run.config.compute.num_threads)
    settings, method = run.config.rollout, run.config.method
    name = f"verify-{index}-of-{settings.num_shards}"
    path = run.files.shard(round_, name)

    def work() -> None:
        trajectories = read_records(run.files.trajectories(round_), Trajectory)
        trajectories = shard(
            trajectories, index, num_shards=settings.num_shards, batch_size=settings.batch_size
        )
        audit = method.audit(shares_tokens=run.models.teacher_shares_tokens)
        assert audit is not None, "a method that needs verdicts has an audit"
        verdicts: list[Verdict] = []
        for group in batches(trajectories, settings.batch_size):
            verdicts += verify(
                [Anchored(trajectory, method.anchors(trajectory)) for trajectory in group],
                teacher=run.models.teacher,
                audit=audit,
                decoder=run.models.decoder,
                end_id=run.models.chat.end_id,
                seed=run.config.seed,
                stop=settings.stop,
                prompt_of=run.teacher_prompt,
            )
        write_records(path, verdicts, Verdict)

    return _once(run, round_, name, path, work, stage="verify")


def merge_verdicts(run_dir: Path, round_: int, shards: Sequence[Path]) -> Path:
    """The round's verdicts: the shards in order."""
    run = open_run(run_dir)
    path = run.files.verdicts(round_)

    def work() -> None:
        verdicts = [row for shard_path in shards for row in read_records(shard_path, Verdict)]
        stop_at_failures(verdicts, shards, most=run.config.teacher.max_failed_share, round_=round_)
        write_records(path, verdicts, Verdict)

    return _once(run, round_, "verdicts", path, work, stage="verify")


def reward(run_dir: Path, round_: int) -> Path:
    """The grader's rewards on the round's responses."""
    run = open_run(run_dir)
    path = run.files.rewards(round_)

    def work() -> None:
        trajectories = read_records(run.files.trajectories(round_), Trajectory)
        graded = rewards(trajectories, run.prompts("train"), grader_of(run.config.evaluation))
        write_records(path, graded, Reward)

    return _once(run, round_, "rewards", path, work, stage="verify")


def validate(run_dir: Path, round_: int) -> float:
    """Greedy accuracy of the student before that round, on the validation prompts."""
    run = open_run(run_dir)
    use_threads(run.config.compute.num_threads)
    receipt, key = run.files.receipt(round_, "validate"), work_key(run.key, "validate", round_)
    recorded = valid_receipt(receipt, key=key, base=run_dir)
    if recorded is not None:
        return recorded["accuracy"]
    with run.timed("validate", round_):
        settings = run.config.evaluation
        with run.models.writer(state.student_at(run, round_), batch_size=settings.batch_size) as writer:
            results = answered(
                writer,
                run.prompts("validation"),
                decoding=run.config.evaluation.decodings(run.config.rollout.stop)["greedy"],
                max_new_tokens=run.config.rollout.max_new_tokens,
                settings=settings,
                seed=run.config.seed,
            )
        accuracy = accuracy_of(results)
        write_receipt(receipt, key=key, files=[], base=run_dir, more={"accuracy": accuracy})
    return accuracy


def train(run_dir: Path, round_: int, accuracy: float | None) -> dict[str, float]:
    """One optimiser step on the round; the manifest, written last, completes it. Returns the round's metrics."""
    run = open_run(run_dir)
    use_threads(run.config.compute.num_threads)
    with run.timed("train", round_):
        trainer = state.trainer_at(run, round_)
        annotated = state.recorded_round(run, round_, trainer)
        state.keep_rollout_student(run, round_ + 1)
        state.forget(run)  # during the step the state is neither the old nor the new
        rows = run.models.with_teacher_prompts(run.config.method.rows(annotated), annotated)
        step_metrics = trainer.round(rows, run.config.method)
        state.advance(run, round_ + 1, trainer)
        if round_ + 1 in due_checkpoints(run.config.train):
            state.save(run, round_ + 1, trainer, "checkpoint")
        if parallel.rank():
            return {}  # the first process writes for all
        shutil.rmtree(run.files.state(round_ - 1), ignore_errors=True)
        metrics = _round_metrics(run, round_, annotated) | failures_of_round(run, round_) | step_metrics
        if accuracy is not None:
            metrics |= accuracy_metrics(run_dir, round_, accuracy)
        metrics |= alarm_metrics(run.config.alarms, metrics, earlier_metrics(run_dir, round_))
        complete_round(run, round_, metrics)
    return metrics


def finish(run_dir: Path, accuracy: float) -> Path:
    """Complete the run after its last round: every due checkpoint, then the last manifest."""
    run = open_run(run_dir)
    num_rounds = run.config.train.num_rounds
    missing = [round_ for round_ in due_checkpoints(run.config.train) if not run.has_checkpoint(round_)]
    parallel.wait_for_all()
    for round_ in missing:
        state.save(run, round_, state.trainer_at(run, round_), "checkpoint")
        parallel.wait_for_all()  # so that all processes continue from the same state
    if not parallel.rank():
        metrics = accuracy_metrics(run_dir, num_rounds, accuracy)
        metrics |= alarm_metrics(run.config.alarms, metrics, earlier_metrics(run_dir, num_rounds))
        complete_round(run, num_rounds, metrics, files=[])
    return run.files.checkpoint(num_rounds)


def rebuild(run_dir: Path, round_: int) -> Path:
    """Rebuild the state before that round from the records, and save it for the other processes of the run."""
    run = open_run(run_dir)
    state.save(run, round_, state.trainer_at(run, round_), "state")
    return run.files.state(round_)


def _once(run: Run, round_: int, name: str, path: Path, work: Callable[[], None], *, stage: str) -> Path:
    """Do the work that writes `path` and write its receipt, unless a valid one exists. Returns the path."""
    key, receipt = work_key(run.key, name, round_), run.files.receipt(round_, name)
    if valid_receipt(receipt, key=key, base=run.files.root) is None:
        with run.timed(stage, round_):
            work()
            write_receipt(receipt, key=key, files=[path], base=run.files.root)
    return path


def _round_metrics(run: Run, round_: int, annotated: Sequence[Annotated]) -> dict[str, float]:
    trajectories = [item.trajectory for item in annotated]
    verdicts = [verdict for item in annotated for verdict in item.verdicts]
    lengths = [len(trajectory.response_ids) for trajectory in trajectories]
    num_cut = sum(trajectory.finish_reason == "length" for trajectory in trajectories)
    written = [item for item in trajectories if item.writer == STUDENT]
    settings = run.config.rollout
    staleness = {"staleness": float(round_ - settings.weights_of(round_))} if settings.overlap else {}
    audits = {"audited_share": audited_share(annotated)} if "verdicts" in run.config.method.needs else {}
    return {
        **staleness,
        **audits,
        **run.config.method.metrics(annotated),
        "response_len": sum(lengths) / len(lengths),
        "cut_share": num_cut / len(lengths),
        "repetition": sum(repetition(item.response_ids) for item in trajectories) / len(lengths),
        "trained_tokens": float(sum(lengths)),
        "student_tokens": float(sum(len(item.response_ids) for item in written)),
        "teacher_tokens": float(
            sum(item.teacher_tokens for item in trajectories)
            + sum(verdict.completion_tokens for verdict in verdicts)
        ),
        "teacher_prompt_tokens": float(
            sum(item.teacher_prompt_tokens for item in trajectories)
            + sum(verdict.prompt_tokens for verdict in verdicts)
        ),
        "cost_usd": sum(item.cost_usd for item in trajectories) + sum(item.cost_usd for item in verdicts),
    }
