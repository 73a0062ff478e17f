"""`make server` and deployments: a run that a worker starts is the run that any command would have made."""

import json
import re
import shutil
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from projects import REPOSITORY, Project, digests, run_plain
from started import all_ended, finished, processes_in, start, wait_until
from text_models import save_text_model

pytestmark = pytest.mark.slow

SECONDS = 60.0  # until a cancelled run has ended, on a busy machine; its 400 rounds take far longer


def _serve(project: Project, *options: str) -> str:
    return finished(start(project, sys.executable, "-m", "flows", "serve", *options))


@pytest.fixture(scope="module")
def served(base_project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project with a server and a worker, and its flows deployed."""
    project = base_project.copied_to(tmp_path_factory.mktemp("served") / "project")
    shutil.copy(REPOSITORY / "prefect.yaml", project.root)
    project.edit_paths(
        {"tracking.enabled": True, "train.num_rounds": 3, "benchmarks.files.gsm8k": "sums.jsonl"}
    )
    rows = [{"question": f"{i}+1=", "answer": f"#### {i + 1}"} for i in range(4)]
    (project.root / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    save_text_model(project.root / "tiny")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    try:
        assert f"http://127.0.0.1:{port}" in _serve(project, "--port", str(port))
        yield project
    finally:
        ended = finished(start(project, sys.executable, "-m", "flows", "stop"))
    assert re.search(r"ended: worker \(process \d+\), server \(process \d+\)", ended)
    assert all_ended(project.root), processes_in(project.root)
    assert not (project.root / "prefect.toml").exists()


def _api(project: Project, path: str, **body: Any) -> Any:
    url = json.loads((project.root / ".prefect" / "service.json").read_text())["url"]
    request = urllib.request.Request(
        f"{url}/{path}",
        data=json.dumps(body).encode() if body else None,
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or "null")


def _run(project: Project, deployment: str, *parameters: str) -> str:
    given = [word for parameter in parameters for word in ("--param", parameter)]
    return finished(start(project, "prefect", "deployment", "run", deployment, *given, "--watch"))


@pytest.mark.timeout(1200)
def test_a_deployment_makes_the_run_that_a_command_makes_and_shows_it(served: Project, tmp_path: Path):
    twin = served.copied_to(tmp_path / "twin")
    run_plain(twin.params_file)
    assert "finished successfully" in _run(served, "distill/default", "arm=omniopd")
    assert digests(served.run_dir()) == digests(twin.run_dir())

    shown = _api(served, "artifacts/latest/filter", limit=100)
    kinds = {artifact["key"]: artifact for artifact in shown}
    assert kinds["omniopd-0-progress"]["data"] == 100.0
    assert [row["round"] for row in json.loads(kinds["omniopd-0-accuracy"]["data"])] == [0, 2, 3]
    assert "http://127.0.0.1:5000/#/experiments/" in kinds["omniopd-0-mlflow"]["data"]
    assert "/artifacts/report.html" in kinds["omniopd-0-report"]["data"]
    assert "| rounds | 3 of 3 |" in kinds["omniopd-0-summary"]["data"]
    names = {task["name"] for task in _api(served, "task_runs/filter", limit=100)}
    assert {"round 0002 · verify · shard 1/1", "round 0002 · train", "finish"} <= names

    assert "finished successfully" in _run(served, "evaluate/default", "arm=omniopd")
    assert (served.root / "metrics" / "evaluation" / "omniopd-0.json").exists()
    assert "finished successfully" in _run(served, "compare/default", 'arms=["omniopd"]')
    assert "omniopd" in (served.root / "metrics" / "subset" / "comparison.md").read_text()


def test_a_deployment_measures_any_model_on_benchmarks(served: Project):
    output = _run(served, "evaluate/default", "model=./tiny", 'suite=["gsm8k"]')

    assert "finished successfully" in output
    record = json.loads((served.root / "metrics" / "benchmarks" / "tiny" / "gsm8k.json").read_text())
    assert record["num_items"] == 4
    shown = {artifact["key"]: artifact for artifact in _api(served, "artifacts/latest/filter", limit=100)}
    [row] = json.loads(shown["tiny-benchmarks"]["data"])
    assert (row["benchmark"], row["model"], row["Pass@1"]) == ("gsm8k", "./tiny", record["mean"])


def test_the_form_of_a_deployment_says_what_each_parameter_is(served: Project):
    deployments = _api(served, "deployments/filter", limit=10)
    assert sorted(deployment["name"] for deployment in deployments) == ["default"] * 3
    forms = [deployment["parameter_openapi_schema"]["properties"] for deployment in deployments]
    for form in forms:
        assert all(entry["description"] for entry in form.values())
    [distil] = [deployment for deployment in deployments if deployment["description"].startswith("Distil")]
    form = distil["parameter_openapi_schema"]["properties"]
    assert list(form) == ["arm", "seed", "overrides", "params_file"]
    assert (form["arm"]["type"], form["seed"]["type"]) == ("string", "integer")
    assert distil["parameter_openapi_schema"]["required"] == ["arm"]


def test_a_mistake_in_a_form_is_one_sentence_in_the_run(served: Project):
    process = start(
        served, "prefect", "deployment", "run", "distill/default", "--param", "arm=nope", "--watch"
    )
    process.communicate(timeout=300)
    assert process.returncode != 0
    [failed] = [
        flow_run
        for flow_run in _api(served, "flow_runs/filter", limit=50)
        if flow_run["parameters"].get("arm") == "nope"
    ]
    assert "arms.nope: no such arm" in failed["state"]["message"]


@pytest.mark.timeout(1200)
def test_a_cancelled_run_ends_in_seconds_and_goes_on_when_it_is_started_again(served: Project):
    overrides = {"train.num_rounds": 400, "compute.gpu_limit": "always"}
    command = ("prefect", "deployment", "run", "distill/default", "--param", "arm=omniopd-baseline")
    finished(start(served, *command, "--params", json.dumps({"overrides": overrides})))
    wait_until(lambda: len(list(served.root.glob("runs/omniopd-baseline-0.with-*/manifests/*"))) > 1)
    limits = _api(served, "v2/concurrency_limits/filter", limit=10)
    assert [limit["name"] for limit in limits] == ["gpu"]
    [running] = [
        flow_run
        for flow_run in _api(served, "flow_runs/filter", limit=50)
        if flow_run["state_type"] == "RUNNING"
    ]
    before = time.monotonic()
    finished(start(served, "prefect", "flow-run", "cancel", running["id"]))
    wait_until(lambda: not _flow_processes(served), within_s=180)
    assert time.monotonic() - before < SECONDS
    wait_until(lambda: _api(served, f"flow_runs/{running['id']}")["state_type"] == "CANCELLED", within_s=120)
    [run_dir] = served.root.glob("runs/omniopd-baseline-0.with-*")
    done = len(list(run_dir.glob("manifests/*")))
    assert 1 < done < 400
    taken = _api(served, "events/filter", filter={"event": {"name": ["prefect.concurrency-limit.acquired"]}})
    assert taken["total"] > 0, "heavy tasks held a slot of the limit"

    finished(start(served, *command, "--params", json.dumps({"overrides": overrides})))
    wait_until(lambda: len(list(run_dir.glob("manifests/*"))) > done)
    [again] = [
        flow_run
        for flow_run in _api(served, "flow_runs/filter", limit=50)
        if flow_run["state_type"] == "RUNNING"
    ]
    finished(start(served, "prefect", "flow-run", "cancel", again["id"]))
    wait_until(lambda: not _flow_processes(served), within_s=180)


def _flow_processes(project: Project) -> list[str]:
    return [
        line for line in processes_in(project.root) if "flow-run execute" in line or "prefect.engine" in line
    ]


def test_a_second_start_finds_what_runs_and_a_command_shows_its_runs_there(served: Project):
    record = json.loads((served.root / ".prefect" / "service.json").read_text())
    _serve(served)
    again = json.loads((served.root / ".prefect" / "service.json").read_text())
    assert again == record
    flow = [sys.executable, "-m", "flows", "distill", "--arm", "omniopd", "--set", "train.num_rounds=1"]
    finished(start(served, *flow))
    runs = _api(served, "flow_runs/filter", limit=50)
    assert any(flow_run["parameters"].get("overrides") == {"train.num_rounds": 1} for flow_run in runs)


def test_an_address_that_is_taken_is_refused(served: Project, project: Project):
    url = json.loads((served.root / ".prefect" / "service.json").read_text())["url"]
    port = url.removesuffix("/api").rpartition(":")[2]
    process = start(project, sys.executable, "-m", "flows", "serve", "--port", port)
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 2
    assert "something answers there already; give another port" in output
