"""The shards of a step, in threads of the flow or on a Dask cluster; and the prefetch of the next round's rollout."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path
from typing import Any

from prefect.context import FlowRunContext
from prefect.task_runners import TaskRunner
from prefect.tasks import Task

from flows.tasks import called
from omniopd.config import RunConfig
from omniopd.errors import ConfigError

# A step's task, the run's directory and the round → the paths of the shards, in order.
Sharded = Callable[[Task[[Path, int, int, int], Path], Path, int], list[Path]]
Prefetch = Callable[[Callable[[], list[Path]]], Future[list[Path]]]
STARTED = "processes:"


@contextmanager
def sharded(config: RunConfig) -> Iterator[Sharded]:
    """How the shards of a run are computed, for the block: in turn outside of a flow run, which gives the same files.

    Raises:
        ConfigError: compute.dask is set, and prefect-dask is not installed, or no scheduler answers.
    """
    num_shards, dask = config.rollout.num_shards, config.compute.dask

    def in_turn(step: Task[..., Path], run_dir: Path, round_: int) -> list[Path]:
        return [called(step)(run_dir, round_, index, num_shards) for index in range(num_shards)]

    def in_threads(step: Task[..., Path], run_dir: Path, round_: int) -> list[Path]:
        futures = [step.submit(run_dir, round_, index, num_shards) for index in range(num_shards)]
        return [future.result() for future in futures]

    if FlowRunContext.get() is None or (dask is None and num_shards == 1):
        yield in_turn
    elif dask is None:
        yield in_threads
    else:
        with dask_runner(dask) as runner:

            def on_cluster(step: Task[..., Path], run_dir: Path, round_: int) -> list[Path]:
                given = {"run_dir": run_dir.resolve(), "round_": round_, "num_shards": num_shards}
                futures = [runner.submit(step, {**given, "index": index}) for index in range(num_shards)]
                return [future.result() for future in futures]

            yield on_cluster


@contextmanager
def dask_runner(where: str) -> Iterator[TaskRunner[Any]]:
    """Prefect's runner on a scheduler's address, or on new processes for the block (`processes:2`)."""
    try:
        from prefect_dask.task_runners import DaskTaskRunner
    except ImportError as error:
        raise ConfigError("compute.dask: prefect-dask is not installed; pip install omniopd[dask]") from error
    if where.startswith(STARTED):
        num_workers = int(where.removeprefix(STARTED))
        settings = {"n_workers": num_workers, "threads_per_worker": 1, "dashboard_address": None}
        runner = DaskTaskRunner(cluster_kwargs=settings)
    else:
        runner = DaskTaskRunner(address=where)
    # Tasks log to Prefect; the processes that are started here would print the lines too.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    with runner:
        try:
            runner.client  # noqa: B018  # connects
        except OSError as error:
            raise ConfigError(
                f"compute.dask: no scheduler answers at {where!r} ({error}); start one there"
            ) from error
        yield runner


@contextmanager
def prefetching() -> Iterator[Prefetch]:
    """A function that starts work of the next round in a thread of the flow run.

    The block waits for the work at its end, unless it is interrupted.
    """
    thread = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
    waits = True
    try:
        yield lambda work: thread.submit(copy_context().run, work)
    except BaseException as error:
        waits = isinstance(error, Exception)
        raise
    finally:
        thread.shutdown(wait=waits, cancel_futures=True)
