"""kill -9 of what a flow through Prefect consists of: its server, a task's process, itself, and a worker's runs."""

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from campaign import account, half_written
from projects import REPOSITORY, Project, digests, run_plain
from started import all_ended, finished, processes_in, start, start_flow, wait_until

from flows.runtime.processes import WORKER

pytestmark = pytest.mark.slow

NUM_RUNS = max(1, int(os.environ.get("OMNIOPD_TEST_KILLS", "18")) // 20)  # of the whole flow
SEED = int(os.environ.get("OMNIOPD_TEST_SEED", "0"))
ARMS = {
    "sft": {"method": "sft"},
    "grpo": {"method": "grpo", "rollout": {"num_prompts": 3, "num_samples": 4}},
    "omniopd": {"method": "omniopd"},
    "fork": {"method": "fork"},
}


def _children(process: subprocess.Popen, word: str) -> list[psutil.Process]:
    """Those that it started and whose command has the word in it."""
    children = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if word in child.cmdline():
                children.append(child)
        except psutil.Error:
            continue
    return children


def _rounds(project: Project, arm: str) -> int:
    return len(list((project.run_dir(arm) / "manifests").glob("*.json")))


def _results(project: Project, arm: str) -> dict[str, str]:
    """But for config.json, which names where steps run."""
    return {name: md5 for name, md5 in digests(project.run_dir(arm)).items() if name != "config.json"}


@pytest.mark.timeout(300 + 240 * NUM_RUNS)
def test_a_flow_bears_the_death_of_a_tasks_process_and_of_its_server_and_goes_on_after_its_own(
    base_project: Project, tmp_path: Path
):
    rng, kills = random.Random(SEED), Counter()
    for number in range(NUM_RUNS):
        arm = list(ARMS)[(2 + number) % len(ARMS)]
        twin = base_project.copied_to(tmp_path / f"twin-{number}").edit(arms=ARMS, train__num_rounds=3)
        run_plain(twin.params_file, arm)
        project = twin.copied_to(tmp_path / f"project-{number}")
        shutil.rmtree(project.run_dir(arm).parent)
        _killed_all_over(project, arm, rng, kills)
        assert all_ended(project.root), processes_in(project.root)
        assert _results(project, arm) == _results(twin, arm)
        assert not half_written(project.root)
    print(f"seed {SEED}: {kills.total()} kills: {account(kills)}")


def _killed_all_over(project: Project, arm: str, rng: random.Random, kills: Counter[str]) -> None:
    """A run that loses two processes of tasks, then itself; then, started again, its server; and ends by itself."""
    project.edit_paths({"compute.where": {"schedule": "process", "train": "process"}})
    first = start_flow(project, arm)
    for _ in range(2):
        wait_until(lambda: bool(_children(first, WORKER)), first)
        time.sleep(rng.uniform(0, 1))
        wait_until(lambda: bool(_children(first, WORKER)), first)
        for child in _children(first, WORKER)[:1]:
            child.kill()
            kills["a task's process"] += 1
    time.sleep(rng.uniform(0, 2))
    first.kill()
    first.communicate()
    kills["the flow"] += 1
    assert all_ended(project.root), processes_in(project.root)

    before = _rounds(project, arm)
    second = start_flow(project, arm)
    wait_until(lambda: _rounds(project, arm) > before, second)
    for server in _children(second, "uvicorn"):
        server.kill()
        kills["the flow's server"] += 1
    finished(second)


@pytest.fixture
def deployed(project: Project) -> Iterator[Project]:
    """A project whose flows are deployed to a server and a worker of its own."""
    shutil.copy(REPOSITORY / "prefect.yaml", project.root / "prefect.yaml")
    project.edit(arms=ARMS, train__num_rounds=40, train__checkpoint_every=10)
    yield project
    finished(start(project, sys.executable, "-m", "flows", "stop"))
    assert all_ended(project.root), processes_in(project.root)


@pytest.mark.skipif(NUM_RUNS < 2, reason="minutes long; make test-faults runs it")
@pytest.mark.timeout(900)
def test_a_deployments_run_goes_on_after_its_worker_its_server_and_itself_were_killed(
    deployed: Project, tmp_path: Path
):
    twin = deployed.copied_to(tmp_path / "twin")
    run_plain(twin.params_file, "omniopd")
    _serve(deployed)
    _run_deployment(deployed)
    wait_until(lambda: _rounds(deployed, "omniopd") > 2)
    _kill(deployed, "worker")
    lock = (deployed.root / "runs" / ".omniopd-0.lock").read_text()
    orphan = psutil.Process(int(lock.split()[1]))
    orphan.suspend()  # so that it cannot end before the second has begun
    output, _ = (refused := start_flow(deployed)).communicate(timeout=480)
    assert refused.returncode == 2, output
    assert f"runs/omniopd-0: is being written by process {orphan.pid} on " in output
    assert "wait for it, or stop it first" in output
    orphan.kill()
    _kill(deployed, "server")
    assert _rounds(deployed, "omniopd") < 41

    _serve(deployed)
    _run_deployment(deployed)
    wait_until(lambda: _rounds(deployed, "omniopd") == 41)
    wait_until(lambda: _results(deployed, "omniopd") == _results(twin, "omniopd"), within_s=180)
    assert not half_written(deployed.root)


def _serve(project: Project) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    finished(start(project, sys.executable, "-m", "flows", "serve", "--port", str(port)))


def _run_deployment(project: Project) -> None:
    finished(start(project, "prefect", "deployment", "run", "distill/default", "--param", "arm=omniopd"))


def _kill(project: Project, what: str) -> None:
    """kill -9 of what `serve` started."""
    record = json.loads((project.root / ".prefect" / "service.json").read_text())
    psutil.Process(int(record[what]["pid"])).kill()
