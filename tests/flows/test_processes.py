"""compute.where does not change results, and a process that dies is started again."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dask
import distributed  # noqa: F401  # its settings, which a test changes
import psutil
import pytest
from projects import Project, digests, run_plain
from started import ENVIRONMENT, finished, start_flow, wait_until

from flows.runtime.processes import WORKER, dispatch
from flows.runtime.shards import dask_runner
from omniopd.config import load_params
from omniopd.data.layout import Layout
from omniopd.errors import ConfigError, DataError, ProcessError
from omniopd.rounds import steps as rounds
from omniopd.rounds.start import start_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def plain(base_project: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The digests of a short run in one process."""
    project = base_project.copied_to(tmp_path_factory.mktemp("plain") / "project").edit(train__num_rounds=1)
    run_plain(project.params_file)
    return _without_config(project.run_dir())


def _without_config(run_dir: Path) -> dict[str, str]:
    """All results but the record of the settings, which names the places."""
    return {name: md5 for name, md5 in digests(run_dir).items() if name != "config.json"}


def _start(project: Project, **compute) -> Path:
    project.edit_paths({f"compute.{name}": value for name, value in compute.items()})
    return start_run(load_params(project.params_file), "omniopd", 0, Layout(project.root))


def test_every_step_in_a_process_of_its_own_gives_the_bytes_of_one_process(project: Project, plain):
    steps = ("roll_out", "schedule", "verify", "train", "validate")
    project.edit_paths({"train.num_rounds": 1, "compute.where": dict.fromkeys(steps, "process")})
    run_plain(project.params_file)
    assert _without_config(project.run_dir()) == plain


def test_responses_prefetched_through_prefect_by_other_processes_are_those_of_one_process(
    project: Project, tmp_path: Path
):
    project.edit(rollout__overlap=1, train__num_rounds=2)
    twin = project.copied_to(tmp_path / "twin")
    run_plain(twin.params_file)
    project.edit_paths({"compute.where": {"roll_out": "process"}, "rollout.num_shards": 2})
    finished(start_flow(project))
    assert _without_config(project.run_dir()) == _without_config(twin.run_dir())


@pytest.mark.parametrize("shard", [False, True], ids=["each holds all", "weights divided"])
def test_two_processes_train_as_one_but_for_rounding(project: Project, tmp_path: Path, shard: bool):
    """Three batches: two of them to one of the processes, so that the summation order differs."""
    project.edit_paths({"train.num_rounds": 2, "train.batch_size": 4})
    twin = project.copied_to(tmp_path / "twin")
    run_plain(twin.params_file)
    project.edit_paths(
        {"compute.where": {"train": "torchrun"}, "compute.num_processes": 2, "train.shard": shard}
    )
    run_plain(project.params_file)
    two, one = (_measured(run.run_dir()) for run in (project, twin))
    assert two == pytest.approx(one, rel=1e-4, abs=1e-6)
    first = "trajectories/round-0000.parquet"
    assert digests(project.run_dir())[first] == digests(twin.run_dir())[first]


def _measured(run_dir: Path) -> dict[str, float]:
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()[:2]
    return {f"{n}/{name}": value for n, line in enumerate(lines) for name, value in json.loads(line).items()}


def test_an_error_of_a_process_is_the_error_of_the_step(project: Project):
    run_dir = _start(project, where={"schedule": "process"})
    with pytest.raises(DataError, match=r"nowhere\.parquet: cannot be read"):
        dispatch("schedule", rounds.schedule, run_dir, 0, [Path("nowhere.parquet")])


def test_a_process_that_takes_too_long_is_ended(project: Project):
    run_dir = _start(project, where={"roll_out": "process"}, timeout_s=0.5)
    with pytest.raises(ProcessError, match=r"roll_out: did not end within compute.timeout_s, 0.5 s"):
        dispatch("roll_out", rounds.roll_out, run_dir, 0, 0)
    assert not _workers(psutil.Process())


def test_a_process_that_is_killed_is_started_again_and_the_run_ends_as_if_it_had_not_been(
    project: Project, plain
):
    project.edit_paths({"train.num_rounds": 1, "compute.where": {"train": "process"}})
    flow = start_flow(project)
    wait_until(lambda: bool(_workers(psutil.Process(flow.pid))), flow)
    # Two, while it starts a program, which is a copy of itself at first.
    for worker in _workers(psutil.Process(flow.pid)):
        with contextlib.suppress(psutil.NoSuchProcess):
            worker.kill()
    finished(flow)
    log = (project.run_dir() / "run.log").read_text()
    assert "train: its process was ended by signal 9; the memory may have run out" in log
    assert _without_config(project.run_dir()) == plain


def _workers(process: psutil.Process) -> list[psutil.Process]:
    """The child processes that run a step."""
    workers = []
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if WORKER in " ".join(child.cmdline()):
                workers.append(child)
    return workers


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    """The address of a scheduler with two workers in folders of their own, as on machines that share the project's."""
    file = tmp_path / "scheduler.json"
    program = Path(sys.executable).with_name("dask")
    loopback = ["--host", "127.0.0.1", "--scheduler-file", str(file)]
    commands = [("scheduler", [*loopback, "--port", "0", "--no-dashboard"])]
    commands += [(f"worker-{n}", [*loopback, "--nthreads", "1", "--no-dashboard"]) for n in range(2)]
    started = []
    try:
        for name, options in commands:
            folder = tmp_path / name
            folder.mkdir()
            with (folder / "log").open("w") as log:
                command = [program, name.partition("-")[0], *options]
                started.append(subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdout=log, stderr=log))
            wait_until(file.exists, started[0])
        yield json.loads(file.read_text())["address"]
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(timeout=120)


def test_shards_on_two_dask_workers_give_the_bytes_of_one_process(project: Project, plain, cluster: str):
    project.edit_paths({"train.num_rounds": 1, "rollout.num_shards": 3, "compute.dask": cluster})
    finished(start_flow(project))
    assert _without_config(project.run_dir()) == plain
    log = (project.run_dir() / "run.log").read_text()
    assert "Connecting to an existing Dask cluster at" in log


def test_a_cluster_that_does_not_answer_is_named():
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(ConfigError, match=r"compute.dask: no scheduler answers at '127.0.0.1:9'"),
        dask_runner("127.0.0.1:9"),
    ):
        pass
