"""The steps of a round as Prefect tasks: each is one call into the library, which skips work that is done.

Prefect's result cache is off: it does not check that a file still exists.
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

from flows.runtime.processes import dispatch
from flows.runtime.server import is_embedded
from omniopd.config import Params
from omniopd.config.schema.compute import Compute, Step
from omniopd.data.layout import Layout
from omniopd.errors import BudgetError, ConfigError, DataError, DiskError, ModelError, RunError
from omniopd.inputs.base import make_models
from omniopd.inputs.prepare import make_prompts
from omniopd.progress import base_bar
from omniopd.rounds import steps as rounds
from omniopd.rounds.run import Run, open_run

P = ParamSpec("P")
R = TypeVar("R")

PERMANENT = (BudgetError, ConfigError, DataError, DiskError, ModelError, RunError)  # a retry would fail too
GPU = "gpu"  # the global concurrency limit of work on a GPU
GPU_LEASE_S = 60.0  # until the slot of a holder that died is released


def is_retryable(task: Task[Any, Any], task_run: TaskRun, state: State) -> bool:
    """Whether a failed task is retried, with backoff; an error that the user must fix is not."""
    del task, task_run
    return not isinstance(state.result(raise_on_failure=False), PERMANENT)


def shard_name() -> str:
    """The name of a shard's task run: the third of eight is 3/8."""
    given = task_run.parameters
    return f"round {given['round_']:04d} · {task_run.task_name} · shard {given['index'] + 1}/{given['num_shards']}"


_RETRYABLE: dict[str, Any] = {
    "cache_policy": NO_CACHE,
    "persist_result": False,
    "retries": 2,
    "retry_delay_seconds": [1, 10],
    "retry_condition_fn": is_retryable,
}


@task(name="prepare", task_run_name="prepare · seed {seed}", **_RETRYABLE)
def prepare(params: Params, seed: int, root: Path) -> bool:
    """Make the prompts of a seed unless they exist."""
    return make_prompts(params, seed, Layout(root))


@task(name="base", task_run_name="base · seed {seed}", **_RETRYABLE)
def base(params: Params, seed: int, root: Path) -> bool:
    """Make the models of a seed unless they exist."""
    with base_bar(params, seed) as on_step, gpu(params.compute):
        return make_models(params, seed, Layout(root), on_step=on_step)


@task(name="roll out", task_run_name=shard_name, **_RETRYABLE)
def roll_out(run_dir: Path, round_: int, index: int, num_shards: int) -> Path:
    """One shard of the round's responses."""
    del num_shards
    return _on_gpu("roll_out", rounds.roll_out, run_dir, round_, index)


@task(name="schedule", task_run_name="round {round_:04d} · schedule", **_RETRYABLE)
def schedule(run_dir: Path, round_: int, shards: list[Path]) -> Path:
    """The round's trajectories with their entropies."""
    return _on_gpu("schedule", rounds.schedule, run_dir, round_, shards)


@task(name="verify", task_run_name=shard_name, **_RETRYABLE)
def verify(run_dir: Path, round_: int, index: int, num_shards: int) -> Path:
    """The teacher's verdicts on one shard."""
    del num_shards
    config = open_run(run_dir).config
    with gpu(config.compute, needed=config.teacher.is_local):
        return dispatch("verify", rounds.verify_shard, run_dir, round_, index)


@task(name="reward", task_run_name="round {round_:04d} · reward", **_RETRYABLE)
def reward(run_dir: Path, round_: int) -> Path:
    """The grader's rewards on the round."""
    return rounds.reward(run_dir, round_)


@task(name="train", task_run_name="round {round_:04d} · train", **_RETRYABLE)
def train(run_dir: Path, round_: int, accuracy: float | None) -> dict[str, float]:
    """The optimiser steps of the round, which complete it."""
    return _on_gpu("train", rounds.train, run_dir, round_, accuracy)


@task(name="validate", task_run_name="round {round_:04d} · validate", **_RETRYABLE)
def validate(run_dir: Path, round_: int) -> float:
    """Greedy accuracy on the validation prompts."""
    return _on_gpu("validate", rounds.validate, run_dir, round_)


@task(name="rebuild", task_run_name="round {round_:04d} · rebuild", **_RETRYABLE)
def rebuild(run_dir: Path, round_: int) -> Path:
    """The weights before the round, recomputed from the recorded rounds for processes that resume from them."""
    return _on_gpu("train", rounds.rebuild, run_dir, round_)


@task(name="finish", task_run_name="finish", **_RETRYABLE)
def finish(run_dir: Path, accuracy: float) -> Path:
    """The last checkpoint and manifest; stale files are removed."""
    return _on_gpu("train", rounds.finish, run_dir, accuracy)


def _on_gpu(name: Step, step: Callable[..., R], run_dir: Path, *arguments: Any) -> R:
    with gpu(open_run(run_dir).config.compute):
        return dispatch(name, step, run_dir, *arguments)


def called(step: Callable[P, R]) -> Callable[P, R]:
    """The task or flow; outside of a flow run its plain function, which needs no server."""
    if isinstance(step, (Task, Flow)) and FlowRunContext.get() is None:
        return step.fn
    return step


def limited(step: Callable[P, R], run: Run) -> Callable[P, R]:
    """The task with a timeout of compute.timeout_s. Not for shards: only their processes can be stopped."""
    step = called(step)
    if not isinstance(step, Task):
        return step
    return step.with_options(timeout_seconds=run.config.compute.timeout_s)


@contextmanager
def gpu(compute: Compute, *, needed: bool = True) -> Iterator[None]:
    """Hold one slot of the limit `gpu` for the block, if the work uses a GPU and other runs share the server."""
    uses_gpu = compute.gpu_limit == "always" or (compute.gpu_limit == "auto" and torch.cuda.is_available())
    if not (needed and uses_gpu) or is_embedded() or TaskRunContext.get() is None:
        yield
        return
    with concurrency(GPU, occupy=1, strict=False, lease_duration=GPU_LEASE_S):
        yield
