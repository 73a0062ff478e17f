"""The steps of a round as Prefect tasks: each one call into the library, skipped by the library where it is done.

Prefect's result cache is never the truth (it does not check that a file still exists), so it is off.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch
from prefect import Flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.concurrency.sync import concurrency
from prefect.context import FlowRunContext, TaskRunContext
from prefect.runtime import task_run
from prefect.tasks import Task

from flows.runtime.processes import placed
from flows.runtime.server import is_embedded
from omniopd.config import Params
from omniopd.config.schema import Compute
from omniopd.data.layout import Layout
from omniopd.errors import BudgetError, ConfigError, DataError, DiskError, ModelError, RunError
from omniopd.inputs import ensure as inputs
from omniopd.progress import bar
from omniopd.rounds import steps as rounds
from omniopd.rounds.run import Run, open_run

P = ParamSpec("P")
R = TypeVar("R")

# Asking again changes nothing about these.
PERMANENT = (BudgetError, ConfigError, DataError, DiskError, ModelError, RunError)
GPU = "gpu"  # the global concurrency limit of work that takes the accelerator
GPU_LEASE_S = 60.0  # after which the slot of a holder that died is free


def can_pass(task: Task[Any, Any], task_run: TaskRun, state: State) -> bool:
    """Whether a failure may pass: retried with backoff, where an error of the user is not."""
    del task, task_run
    return not isinstance(state.result(raise_on_failure=False), PERMANENT)


def shard_name() -> str:
    """What the run of a shard's task is called: the third of eight is 3/8."""
    given = task_run.parameters
    return f"round {given['round_']:04d} · {task_run.task_name} · shard {given['index'] + 1}/{given['num_shards']}"


_RETRYABLE: dict[str, Any] = {
    "cache_policy": NO_CACHE,
    "persist_result": False,
    "retries": 2,
    "retry_delay_seconds": [1, 10],
    "retry_condition_fn": can_pass,
}


@task(name="prepare", task_run_name="prepare · seed {seed}", **_RETRYABLE)
def prepare(params: Params, seed: int, root: Path) -> bool:
    """The prompts of a seed, unless they are there."""
    return inputs.make_prompts(params, seed, Layout(root))


@task(name="base", task_run_name="base · seed {seed}", **_RETRYABLE)
def base(params: Params, seed: int, root: Path) -> bool:
    """The models of a seed, unless they are there."""
    demo = params.models.demo
    with (
        bar(f"base seed {seed}", demo.student.num_steps + demo.teacher.num_steps) as shown,
        gpu(params.compute),
    ):

        def on_step(role: str, step: int, total: int) -> None:
            shown.update(
                step + (demo.student.num_steps if role == "teacher" else 0), f"{role} {step}/{total} steps"
            )

        return inputs.make_models(params, seed, Layout(root), on_step=on_step)


@task(name="roll out", task_run_name=shard_name, **_RETRYABLE)
def roll_out(run_dir: Path, round_: int, index: int, num_shards: int) -> Path:
    """One shard of the round's responses."""
    del num_shards
    with gpu(open_run(run_dir).config.compute):
        return placed("roll_out", rounds.roll_out, run_dir, round_, index)


@task(name="schedule", task_run_name="round {round_:04d} · schedule", **_RETRYABLE)
def schedule(run_dir: Path, round_: int, shards: list[Path]) -> Path:
    """The round's trajectories with their entropies."""
    with gpu(open_run(run_dir).config.compute):
        return placed("schedule", rounds.schedule, run_dir, round_, shards)


@task(name="verify", task_run_name=shard_name, **_RETRYABLE)
def verify(run_dir: Path, round_: int, index: int, num_shards: int) -> Path:
    """The teacher's verdicts on one shard."""
    del num_shards
    config = open_run(run_dir).config
    with gpu(config.compute, needed=config.teacher.is_local):
        return placed("verify", rounds.verify_shard, run_dir, round_, index)


@task(name="reward", task_run_name="round {round_:04d} · reward", **_RETRYABLE)
def reward(run_dir: Path, round_: int) -> Path:
    """The verifier's rewards on the round."""
    return rounds.reward(run_dir, round_)


@task(name="train", task_run_name="round {round_:04d} · train", **_RETRYABLE)
def train(run_dir: Path, round_: int, accuracy: float | None) -> dict[str, float]:
    """One optimiser step; completes the round."""
    with gpu(open_run(run_dir).config.compute):
        return placed("train", rounds.train, run_dir, round_, accuracy)


@task(name="validate", task_run_name="round {round_:04d} · validate", **_RETRYABLE)
def validate(run_dir: Path, round_: int) -> float:
    """Greedy accuracy on the validation prompts."""
    with gpu(open_run(run_dir).config.compute):
        return placed("validate", rounds.validate, run_dir, round_)


@task(name="rebuild", task_run_name="round {round_:04d} · rebuild", **_RETRYABLE)
def rebuild(run_dir: Path, round_: int) -> Path:
    """The weights before the round from what is recorded, for the processes that go on from them."""
    with gpu(open_run(run_dir).config.compute):
        return placed("train", rounds.rebuild, run_dir, round_)


@task(name="finish", task_run_name="finish", **_RETRYABLE)
def finish(run_dir: Path, accuracy: float) -> Path:
    """The last checkpoint and manifest; nothing stale is left."""
    with gpu(open_run(run_dir).config.compute):
        return placed("train", rounds.finish, run_dir, accuracy)


def called(step: Callable[P, R]) -> Callable[P, R]:
    """The task or flow; outside of a flow run the plain function, which does the same and asks no server."""
    if isinstance(step, (Task, Flow)) and FlowRunContext.get() is None:
        return step.fn
    return step


def limited(step: Callable[P, R], run: Run) -> Callable[P, R]:
    """The task, stopped when it takes longer than the run's settings allow; of a shard its process alone can be."""
    step = called(step)
    if not isinstance(step, Task):
        return step
    return step.with_options(timeout_seconds=run.config.compute.timeout_s)


@contextmanager
def gpu(compute: Compute, *, needed: bool = True) -> Iterator[None]:
    """Hold one slot of the limit `gpu` for the block, where the work takes a GPU and the server has other runs too."""
    takes_one = compute.gpu_limit == "always" or (compute.gpu_limit == "auto" and torch.cuda.is_available())
    if not (needed and takes_one) or is_embedded() or TaskRunContext.get() is None:
        yield
        return
    with concurrency(GPU, occupy=1, strict=False, lease_duration=GPU_LEASE_S):
        yield
