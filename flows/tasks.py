"""The steps of a round as Prefect tasks: each one call into the library, skipped by the library where it is done.

Prefect's result cache is never the truth (it does not check that a file still exists), so it is off.
"""

from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from omniopd.errors import BudgetError, ConfigError, DataError, ModelError, RunError
from omniopd.stages import rounds

# Asking again changes nothing about these.
PERMANENT = (BudgetError, ConfigError, DataError, ModelError, RunError)


def can_pass(task: Task[Any, Any], task_run: TaskRun, state: State) -> bool:
    """Whether a failure may pass: retried with backoff, where an error of the user is not."""
    del task, task_run
    return not isinstance(state.result(raise_on_failure=False), PERMANENT)


_RETRYABLE: dict[str, Any] = {
    "cache_policy": NO_CACHE,
    "persist_result": False,
    "retries": 2,
    "retry_delay_seconds": [1, 10],
    "retry_condition_fn": can_pass,
}


@task(name="roll out", task_run_name="round {round_:04d} · roll out · shard {index}", **_RETRYABLE)
def roll_out(run_dir: Path, round_: int, index: int) -> Path:
    """One shard of the round's responses."""
    return rounds.roll_out(run_dir, round_, index)


@task(name="schedule", task_run_name="round {round_:04d} · schedule", **_RETRYABLE)
def schedule(run_dir: Path, round_: int, shards: list[Path]) -> Path:
    """The round's trajectories with their entropies."""
    return rounds.schedule(run_dir, round_, shards)


@task(name="verify", task_run_name="round {round_:04d} · verify · shard {index}", **_RETRYABLE)
def verify(run_dir: Path, round_: int, index: int) -> Path:
    """The teacher's verdicts on one shard."""
    return rounds.verify_shard(run_dir, round_, index)


@task(name="reward", task_run_name="round {round_:04d} · reward", **_RETRYABLE)
def reward(run_dir: Path, round_: int) -> Path:
    """The verifier's rewards on the round."""
    return rounds.reward(run_dir, round_)


@task(name="train", task_run_name="round {round_:04d} · train", **_RETRYABLE)
def train(run_dir: Path, round_: int, accuracy: float | None) -> dict[str, float]:
    """One optimiser step; completes the round."""
    return rounds.train(run_dir, round_, accuracy)


@task(name="validate", task_run_name="round {round_:04d} · validate", **_RETRYABLE)
def validate(run_dir: Path, round_: int) -> float:
    """Greedy accuracy on the validation prompts."""
    return rounds.validate(run_dir, round_)


@task(name="finish", task_run_name="finish", **_RETRYABLE)
def finish(run_dir: Path, accuracy: float) -> Path:
    """The last checkpoint and manifest; nothing stale is left."""
    return rounds.finish(run_dir, accuracy)
