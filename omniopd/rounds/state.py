"""The student between rounds: kept in memory, or rebuilt from the last checkpoint and the rounds recorded since."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Literal

from omniopd.data.receipts import work_key
from omniopd.errors import RunError
from omniopd.methods import Annotated
from omniopd.models.loading import weights_digest
from omniopd.models.scoring import check_head, check_packing, check_rows
from omniopd.models.threads import use_threads
from omniopd.rounds.ledger import annotated_round
from omniopd.rounds.run import Run
from omniopd.sampling.samplers import Student
from omniopd.training.checkpoints import load_optimizer, save_checkpoint
from omniopd.training.trainer import Trainer


def student_at(run: Run, round_: int) -> Student:
    """The student before that round; loaded without its optimiser where another process trains."""
    use_threads(run.config.compute.num_threads)
    models, states = run.models, run.models.states
    with models.lock:
        if states.student is None or states.student[0] != round_:
            states.student = None
            is_trained_here = not run.config.compute.hands_over or (
                states.trainer and states.trainer[0] == round_
            )
            path = None if is_trained_here else run.saved(round_)
            model = trainer_at(run, round_).model if path is None else models.load_student(path)
            states.student = (round_, Student(model, models.chat, weights_digest(model)))
        return states.student[1]


def rollout_student(run: Run, round_: int) -> Student:
    """The student that writes the responses of that round: with `rollout.overlap`, the one of the round before."""
    weights_round = run.config.rollout.weights_of(round_)
    if not run.config.rollout.overlap:
        return student_at(run, weights_round)
    models, states = run.models, run.models.states
    with models.lock:
        if states.rollout_student is None or states.rollout_student[0] != weights_round:
            states.rollout_student = None
            student = student_at(run, weights_round)
            if states.trainer is not None and student.model is states.trainer[1].model:
                student = replace(student, model=copy.deepcopy(student.model))
            states.rollout_student = (weights_round, student)
        return states.rollout_student[1]


def keep_rollout_student(run: Run, round_: int) -> None:
    """Copy the student that will write that round, if it writes here, before training changes it."""
    is_needed = run.config.rollout.overlap and round_ < run.config.train.num_rounds
    if is_needed and not run.config.compute.hands_over:
        rollout_student(run, round_)


def trainer_at(run: Run, round_: int) -> Trainer:
    """The trainer before that round: the one in memory, or rebuilt from the files.

    A state is a function of the last whole checkpoint and the rounds recorded since, so any process
    can rebuild it, and a checkpoint need not be written every round.
    """
    use_threads(run.config.compute.num_threads)
    models, states = run.models, run.models.states
    with models.lock:
        if states.trainer is None or states.trainer[0] != round_:
            states.trainer = states.student = None
            states.trainer = (round_, _rebuild(run, round_))
        return states.trainer[1]


def advance(run: Run, round_: int, trainer: Trainer) -> None:
    """Keep the trainer as the state before `round_`: in memory, and on disk if other processes continue from it."""
    models, states = run.models, run.models.states
    with models.lock:
        states.trainer, states.student = (round_, trainer), None
    if run.config.compute.hands_over:
        save(run, round_, trainer, "state")


def save(run: Run, round_: int, trainer: Trainer, kind: Literal["checkpoint", "state"]) -> None:
    """Save the state before `round_`: as a checkpoint, or as a state for the other processes of the run."""
    path = run.files.checkpoint(round_) if kind == "checkpoint" else run.files.state(round_)
    key, base = work_key(run.key, kind, round_), run.model_path("student")
    save_checkpoint(path, trainer, run.models.chat.tokenizer, key=key, base=base)


def forget(run: Run) -> None:
    """Drop the trainer and its student, as after a step that failed half-way."""
    with run.models.lock:
        run.models.states.trainer = run.models.states.student = None


def _rebuild(run: Run, round_: int) -> Trainer:
    start, path = next((r, path) for r in range(round_, -1, -1) if (path := run.saved(r)) is not None)
    models = run.models
    model = models.load_student(path)
    frozen = {"reference": models.reference, "teacher": models.teacher_model}
    for scored in filter(None, (model, *frozen.values())):
        check_head(scored)
        check_rows(scored)
        if run.config.train.packing:
            check_packing(scored)
    trainer = Trainer(model, run.config.train, **frozen)
    if start:
        load_optimizer(Path(path), trainer)
    for earlier in range(start, round_):
        trainer.round(run.config.method.rows(recorded_round(run, earlier, trainer)), run.config.method)
    return trainer


def recorded_round(run: Run, round_: int, trainer: Trainer) -> list[Annotated]:
    """The round's annotated trajectories, for a trainer in the state before it.

    Raises:
        RunError: they were written with other weights than the trainer's.
    """
    annotated, digests = annotated_round(run, round_), run.models.states.digests
    digests[round_] = weights_digest(trainer.model)
    writer = annotated[0].trajectory.student
    digest = digests.get(run.config.rollout.weights_of(round_))
    if digest not in (writer, None):  # None: this process has not had the weights that wrote it
        raise RunError(
            f"{run.files.root}: round {round_} was written by weights {writer}, but the rebuilt weights "
            f"are {digest}: another machine, library version or number of threads rounds differently; continue where "
            "the run was started, or move the directory away and start again"
        )
    return annotated
