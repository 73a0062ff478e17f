"""The student between rounds, in memory: rebuilt from the last checkpoint and the rounds recorded since."""

import copy
from dataclasses import replace
from pathlib import Path

from omniopd.data.receipts import work_key
from omniopd.data.records import Trajectory
from omniopd.errors import RunError
from omniopd.methods import Annotated
from omniopd.models.loading import weights_digest
from omniopd.models.scoring import check_head, check_packing
from omniopd.models.threads import use_threads
from omniopd.rounds.ledger import annotated_round
from omniopd.rounds.run import Run
from omniopd.sampling.samplers import Student
from omniopd.training.checkpoints import load_optimizer, save_checkpoint
from omniopd.training.trainer import Trainer


def student_at(run: Run, round_: int) -> Student:
    """The student before that round; without its optimiser where another process trains."""
    use_threads(run.config.compute.num_threads)
    with run.lock:
        if run.in_memory.student is None or run.in_memory.student[0] != round_:
            run.in_memory.student = None
            is_trained_here = not run.config.compute.hands_over or (
                run.in_memory.trainer and run.in_memory.trainer[0] == round_
            )
            path = None if is_trained_here else run.saved(round_)
            model = trainer_at(run, round_).model if path is None else run.load_student(path)
            run.in_memory.student = (round_, Student(model, run.tokenizer, weights_digest(model)))
        return run.in_memory.student[1]


def writer_of(run: Run, round_: int) -> Student:
    """The student that writes the responses of that round: with `rollout.overlap` as it stood one round earlier."""
    before = run.config.rollout.weights_of(round_)
    with run.lock:
        if not run.config.rollout.overlap:
            return student_at(run, before)
        if run.in_memory.writer is None or run.in_memory.writer[0] != before:
            run.in_memory.writer = None
            student = student_at(run, before)
            is_trained_here = (
                run.in_memory.trainer is not None and student.model is run.in_memory.trainer[1].model
            )
            run.in_memory.writer = (
                before,
                replace(student, model=copy.deepcopy(student.model)) if is_trained_here else student,
            )
        return run.in_memory.writer[1]


def keep_writer_of(run: Run, round_: int) -> None:
    """Leave the writer of that round as it is while the round before is trained on, if it writes here."""
    is_needed = run.config.rollout.overlap and round_ < run.config.train.num_rounds
    if is_needed and not run.config.compute.hands_over:
        writer_of(run, round_)


def trainer_at(run: Run, round_: int) -> Trainer:
    """The trainer before that round: the one in memory, or rebuilt from the files.

    A state is a function of the last whole checkpoint and the rounds recorded since, so any process
    can rebuild it, and a checkpoint need not be written every round.
    """
    use_threads(run.config.compute.num_threads)
    with run.lock:
        if run.in_memory.trainer is None or run.in_memory.trainer[0] != round_:
            run.in_memory.trainer = run.in_memory.student = None
            run.in_memory.trainer = (round_, _rebuild(run, round_))
        return run.in_memory.trainer[1]


def advance(run: Run, round_: int, trainer: Trainer) -> None:
    """Keep the trainer as the state before `round_`: in memory, and on disk where other processes go on from it."""
    with run.lock:
        run.in_memory.trainer, run.in_memory.student = (round_, trainer), None
    if run.config.compute.hands_over:
        hand_over(run, round_, trainer)


def hand_over(run: Run, round_: int, trainer: Trainer) -> None:
    """Put the state before `round_` where other processes find it."""
    key = work_key(run.key, "state", round_)
    base = run.model_path("student")
    save_checkpoint(run.files.state(round_), trainer, run.tokenizer, key=key, base=base)


def forget(run: Run) -> None:
    """Drop the trainer and its student, as after a step that failed half-way."""
    with run.lock:
        run.in_memory.trainer = run.in_memory.student = None


def _rebuild(run: Run, round_: int) -> Trainer:
    start, path = next((r, path) for r in range(round_, -1, -1) if (path := run.saved(r)) is not None)
    model, frozen = run.load_student(path), {"reference": run.reference, "teacher": run.teacher_model}
    for scored in filter(None, (model, *frozen.values())):
        check_head(scored)
        if run.config.train.packing:
            check_packing(scored)
    trainer = Trainer(model, run.config.train, **frozen)
    if start:
        load_optimizer(Path(path), trainer)
    for earlier in range(start, round_):
        trainer.round(run.config.method.rows(recorded_round(run, earlier, trainer)), run.config.method)
    return trainer


def recorded_round(run: Run, round_: int, trainer: Trainer) -> list[Annotated]:
    """The round's trajectories with what is known of them, for a trainer in the state before it.

    Raises:
        RunError: the weights that wrote them were not the trainer's.
    """
    annotated = annotated_round(run, round_)
    _check_weights(run, round_, annotated[0].trajectory, trainer)
    return annotated


def _check_weights(run: Run, round_: int, trajectory: Trajectory, trainer: Trainer) -> None:
    """Raise where the weights that a round's responses name were not the trainer's, if it was seen then."""
    run.in_memory.digests[round_] = weights_digest(trainer.model)
    digest = run.in_memory.digests.get(run.config.rollout.weights_of(round_))
    if digest not in (trajectory.student, None):
        raise RunError(
            f"{run.files.root}: round {round_} was written by weights {trajectory.student}, and the "
            f"weights rebuilt are {digest}: another machine, library or number of threads rounds otherwise; "
            "go on where the run was begun, or move the directory away and begin anew"
        )
