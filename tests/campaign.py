"""Short runs over every method, to be disturbed, and what must hold of each when it has ended nevertheless.

A project is told of in an MLflow of its own and buys its text from a server that keeps its own count, so that what was
told twice, lost, or paid twice shows.
"""

import itertools
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from projects import Project, digests, run_plain
from teacher_server import TeacherServer

from omniopd.command import run
from omniopd.teachers.cache import ReplyCache, Spent

# A fork server that has imported everything: a start costs a fraction of a second, not ten.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["campaign", "flows.distill", "omniopd.teachers.api"])

WHOLE = bool(os.environ.get("OMNIOPD_TEST_KILLS"))  # as make test-faults runs them
MAX_IN_FLIGHT = 4
ARMS: dict[str, dict[str, Any]] = {
    "sft": {"method": "sft"},
    "grpo": {"method": "grpo", "rollout": {"num_prompts": 3, "num_samples": 4}},
    "omniopd": {"method": "omniopd", "settings": {"num_chunks": 2, "num_replies": 3, "chunk_len": 2}},
    "fork": {"method": "fork", "settings": {"num_chunks": 3}},
    "opd": {"method": "opd"},
}
OWN_TEACHER = ("opd",)  # which reads its distributions


@dataclass(frozen=True)
class Ended:
    """What a run came to, here and in MLflow, and what was booked for it."""

    files: dict[str, str]
    told: dict[str, Any]
    spent: Spent


class Shop:
    """A project of one arm that is told of in MLflow, and the count of what its teacher served it.

    `lost` counts the answers that were served and not booked.
    """

    def __init__(self, project: Project, arm: str, server: TeacherServer, database: Path, printed: Path):
        self.project, self.arm, self.lost, self.printed = project, arm, 0, printed
        shutil.copy(database, project.root / "mlflow.db")
        self._server, self._before = server, len(server.served)
        settings = {"arms": {arm: ARMS[arm]}, "tracking.enabled": True, "tracking.uri": "sqlite:///mlflow.db"}
        asked = {
            "kind": "api", "model": "hosted_vllm/demo", "base_url": server.url, "way": "completion",
            "max_concurrency": MAX_IN_FLIGHT, "prices": {"input": 1.0, "output": 5.0},
        }  # fmt: skip
        if arm not in OWN_TEACHER:
            settings |= {f"teacher.{name}": value for name, value in asked.items()}
        project.edit_paths(settings)

    @property
    def run_dir(self) -> Path:
        return self.project.run_dir(self.arm)

    def start(self, dies_at: int = 0) -> multiprocessing.process.BaseProcess:
        """The flow's loop in a process of its own, in the project's folder; see `_dying` for dies_at."""
        process = PROCESSES.Process(target=_run, args=(self.project.root, self.arm, dies_at, self.printed))
        process.start()
        return process

    def finish(self, *, within_s: float = 480) -> None:
        """Run it to its end."""
        process = self.start()
        process.join(within_s)
        assert process.exitcode == 0, self.printed.read_text()[-4000:]

    def count_lost(self) -> int:
        """How many more answers were served and not booked since the last count: those under way at a kill."""
        while self._server.num_in_flight:
            time.sleep(0.01)
        before, self.lost = self.lost, self.num_served - self.spent().num_calls
        return self.lost - before

    @property
    def num_served(self) -> int:
        return len(self._server.served) - self._before

    def spent(self) -> Spent:
        path = self.project.root / "teacher.sqlite"
        if not path.exists():
            return Spent(0, 0, 0.0)
        cache = ReplyCache(path)
        try:
            return cache.spent()
        finally:
            cache.close()

    def ended(self) -> Ended:
        """What it came to."""
        return Ended(digests(self.run_dir), _told(self.project.root / "mlflow.db"), self.spent())

    def check(self, undisturbed: Ended) -> None:
        """Nothing is lost, doubled or left behind, and nothing was bought but what it needs and what was under way."""
        ended = self.ended()
        for what in ("files", "told"):
            actual, expected = getattr(ended, what), getattr(undisturbed, what)
            other = {name: (actual.get(name), expected.get(name)) for name in actual.keys() | expected.keys()}
            assert actual == expected, {name: both for name, both in other.items() if both[0] != both[1]}
        spent = ended.spent
        assert spent == replace(undisturbed.spent, cost_usd=spent.cost_usd)
        # Calls are booked in the order in which they return: the sum differs by rounding.
        assert spent.cost_usd == pytest.approx(undisturbed.spent.cost_usd, rel=1e-9)
        assert self.num_served == undisturbed.spent.num_calls + self.lost
        assert not half_written(self.project.root)


def half_written(root: Path) -> list[str]:
    """Files and folders that somebody began to write."""
    return [path.relative_to(root).as_posix() for path in root.rglob("*.partial")]


def where_it_stands(shop: Shop) -> str:
    """In a few words, how far a run has come: for the account of where kills landed."""
    if not (shop.run_dir / "config.json").exists():
        return "its prompts and models"
    receipts = sorted((shop.run_dir / "work").rglob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    if not receipts:
        return "between rounds"
    return f"after {receipts[-1].stem.split('-')[0]}" if receipts[-1].stem != "trainer" else "handing over"


def account(kills: Counter[str]) -> str:
    return ", ".join(f"{count} {where}" for where, count in kills.most_common())


def start_fork_server() -> None:
    """Have it import everything, which takes seconds."""
    process = PROCESSES.Process(target=int)
    process.start()
    process.join()


def _run(root: Path, arm: str, dies_at: int, printed: Path) -> None:
    file = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(file, stream.fileno())
    os.chdir(root)
    with _dying(dies_at):
        run(lambda: run_plain(Path("params.yaml"), arm))


@contextmanager
def _dying(at: int) -> Iterator[None]:
    """Die at once where a file or folder that was written whole gets its name for the at-th time; < 0: after it."""
    replace, rename, numbers = Path.replace, Path.rename, itertools.count(1)

    def dying(give_name: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
        def named(path: Path, target: Path) -> Path:
            number = next(numbers)
            if number == at:
                os.kill(os.getpid(), signal.SIGKILL)
            result = give_name(path, target)
            if number == -at:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return named

    with mock.patch.object(Path, "replace", dying(replace)), mock.patch.object(Path, "rename", dying(rename)):
        yield


def _told(database: Path) -> dict[str, Any]:
    """What MLflow knows of the only run, but for its names of things, moments, and the machine."""
    client = MlflowClient(f"sqlite:///{database}")
    experiments = [experiment for experiment in client.search_experiments() if experiment.name != "Default"]
    assert len(experiments) == 1
    (run,) = client.search_runs([experiments[0].experiment_id])
    models = client.search_logged_models([experiments[0].experiment_id])
    outputs = run.outputs.model_outputs if run.outputs else []
    assert sorted(output.model_id for output in outputs) == sorted(model.model_id for model in models)
    return {
        "status": run.info.status,
        "params": run.data.params,
        "recorded": run.data.tags["omniopd.recorded"],
        "metrics": _metrics(client, run),
        "datasets": sorted(
            (entry.dataset.name, entry.dataset.digest, *sorted(tag.value for tag in entry.tags))
            for entry in run.inputs.dataset_inputs
        ),
        "models": sorted((model.name, model.tags["omniopd.weights"], str(model.status)) for model in models),
        "artifacts": [
            (entry.path, entry.file_size if entry.path != "report.html" else "with timings")
            for entry in client.list_artifacts(run.info.run_id)
        ],
    }


def _metrics(client: MlflowClient, run: Run) -> dict[str, list[tuple[int, float]]]:
    names = [name for name in run.data.metrics if not name.startswith("system/")]
    return {
        name: sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, name))
        for name in names
    }
