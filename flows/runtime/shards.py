"""The shards of a step, side by side: threads of the flow's process, or workers of a Dask cluster."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect.context import FlowRunContext
from prefect.task_runners import TaskRunner
from prefect.tasks import Task

from flows.tasks import called
from omniopd.config import RunConfig
from omniopd.errors import ConfigError

# A step's task, the run's folder and the round → the paths of the shards, in order.
Sharded = Callable[[Task[[Path, int, int, int], Path], Path, int], list[Path]]
STARTED = "processes:"


@contextmanager
def sharded(config: RunConfig) -> Iterator[Sharded]:
    """How a run's shards are worked on, for the block.

    Raises:
        ConfigError: compute.dask is set, and prefect-dask is not installed, or nothing answers there.
    """
    num_shards = config.rollout.num_shards
    if FlowRunContext.get() is None:
        yield lambda step, run_dir, round_: _plain(step, run_dir, round_, num_shards)
    elif config.compute.dask is not None:
        with dask_runner(config.compute.dask) as runner:
            yield lambda step, run_dir, round_: _on(runner, step, run_dir.resolve(), round_, num_shards)
    elif num_shards == 1:
        yield lambda step, run_dir, round_: [step(run_dir, round_, 0, 1)]
    else:
        yield lambda step, run_dir, round_: _submitted(step, run_dir, round_, num_shards)


def _plain(
    step: Task[[Path, int, int, int], Path], run_dir: Path, round_: int, num_shards: int
) -> list[Path]:
    """One after the other, without Prefect: the same files."""
    return [called(step)(run_dir, round_, index, num_shards) for index in range(num_shards)]


def _submitted(
    step: Task[[Path, int, int, int], Path], run_dir: Path, round_: int, num_shards: int
) -> list[Path]:
    futures = [step.submit(run_dir, round_, index, num_shards) for index in range(num_shards)]
    return [future.result() for future in futures]


def _on(
    runner: TaskRunner[Any], step: Task[..., Path], run_dir: Path, round_: int, num_shards: int
) -> list[Path]:
    given = [
        {"run_dir": run_dir, "round_": round_, "index": index, "num_shards": num_shards}
        for index in range(num_shards)
    ]
    futures = [runner.submit(step, parameters=parameters) for parameters in given]
    return [future.result() for future in futures]


@contextmanager
def dask_runner(where: str) -> Iterator[TaskRunner[Any]]:
    """Prefect's runner on a scheduler's address, or on so many processes started for the block (`processes:2`)."""
    try:
        from prefect_dask.task_runners import DaskTaskRunner
    except ImportError as error:
        raise ConfigError("compute.dask: prefect-dask is not installed; pip install omniopd[dask]") from error
    if where.startswith(STARTED):
        settings = {
            "n_workers": int(where.removeprefix(STARTED)),
            "threads_per_worker": 1,
            "dashboard_address": None,
        }
        runner = DaskTaskRunner(cluster_kwargs=settings)
    else:
        runner = DaskTaskRunner(address=where)
    # What tasks log goes to Prefect; the processes that are started here would print it too.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    with runner:
        try:
            runner.client  # noqa: B018  # connects
        except OSError as error:
            raise ConfigError(
                f"compute.dask: no scheduler answers at {where!r} ({error}); start one there"
            ) from error
        yield runner
