"""A run repeated from MLflow alone, with the same digests; and the errors where they differ."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from projects import REPOSITORY, Project, digests, run_plain
from ruamel.yaml import YAML
from teacher_mind import AdditionMind
from teacher_server import TeacherServer, running

from omniopd.config import load_params, resolve
from omniopd.data.store import write_json
from omniopd.errors import DataError, RunError
from omniopd.report.archive import Compared
from omniopd.teachers import loop
from omniopd.tracking import reproduce as reproducing
from omniopd.tracking.lookup import Lookup, TrackedRun
from omniopd.tracking.reproduce import check_same, code_differences, reproduce


@pytest.fixture(scope="module")
def original(base_project: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a run of three rounds in MLflow; not to be written to."""
    folder = tmp_path_factory.mktemp("reproduce")
    project = base_project.copied_to(folder / "project").edit(
        train__num_rounds=3,
        tracking__enabled=True,
        tracking__uri=f"sqlite:///{folder / 'mlflow.db'}",
    )
    run_plain(project.params_file)
    return project


@pytest.fixture
def project(original: Project, tmp_path: Path, request: pytest.FixtureRequest) -> Project:
    """The same with a run in an experiment of its own, to tamper with."""
    copied = original.copied_to(tmp_path / "project")
    run_plain(copied.edit(tracking__experiment=request.node.name).params_file)
    return copied


def _found(project: Project) -> tuple[TrackedRun, Lookup, MlflowClient]:
    tracking = load_params(project.params_file).tracking
    lookup = Lookup(tracking)
    return lookup.find("omniopd-0"), lookup, MlflowClient(tracking.uri)


@pytest.fixture
def plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run in this process and without Prefect, whose start takes a quarter of a minute."""
    monkeypatch.setattr(
        reproducing, "_distill", lambda config, path, _: run_plain(path, config.arm, config.seed)
    )


def _command(project: Project, *arguments: str) -> subprocess.Popen:
    program = "from omniopd.cli.app import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", program, "reproduce", *arguments, "--params", str(project.params_file)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
def test_a_run_comes_out_the_same_though_its_reproduction_was_killed_on_the_way(
    original: Project, tmp_path: Path
):
    run, lookup, client = _found(original)
    into = tmp_path / "again"
    killed = _command(original, run.short_id, "--into", str(into))
    first = into / "runs" / "omniopd-0" / "manifests" / "round-0000.json"
    deadline = time.monotonic() + 200
    while not first.exists():
        assert killed.poll() is None, killed.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    models = (into / "models" / "seed-0" / "models.json").stat().st_mtime_ns

    done = _command(original, run.short_id, "--into", str(into))
    out, errors = done.communicate(timeout=480)

    assert done.returncode == 0, errors
    first_line, *table = [line.split() for line in out.splitlines()]
    assert {run.short_id, "(omniopd-0)", str(into)} <= set(first_line)
    assert table == [
        ["what", "the", "same", "of", "first", "that", "differs"],
        ["inputs", "4", "4", "–"],
        ["data", "6", "6", "–"],
        ["checkpoints", "2", "2", "–"],
    ]
    assert (into / "models" / "seed-0" / "models.json").stat().st_mtime_ns == models, "models are made once"
    made, expected = digests(into / "runs" / "omniopd-0"), digests(original.run_dir())
    assert {name for name in expected if made[name] != expected[name]} == {"config.json"}, (
        "its tracking alone"
    )
    experiment = client.get_experiment_by_name("omniopd-reproduced")
    assert experiment is not None
    (again,) = client.search_runs([experiment.experiment_id])
    assert again.data.tags["omniopd.key"] == run.tags["omniopd.key"]
    assert lookup.find("omniopd-0").run_id == run.run_id


@pytest.fixture
def _no_connection_left_open() -> Iterator[None]:
    yield
    loop.close()


@pytest.mark.slow
@pytest.mark.usefixtures("plainly", "_no_connection_left_open")
def test_an_api_that_is_gone_is_answered_for_by_the_replies_that_the_run_bought(
    project: Project, tmp_path: Path
):
    with running(TeacherServer(AdditionMind(noise=0.2))) as server:
        project.edit(
            teacher__kind="api",
            teacher__model="hosted_vllm/demo",
            teacher__base_url=server.url,
            teacher__way="completion",
            train__num_rounds=2,
        ).make_base()
        run_plain(project.params_file)
    run, lookup, _ = _found(project)

    compared = reproduce(run, lookup, project.root, tmp_path / "again")

    assert compared == [Compared("inputs", 4, 4), Compared("data", 4, 4), Compared("checkpoints", 1, 1)]


@pytest.mark.slow
@pytest.mark.usefixtures("plainly")
def test_digests_that_are_others_are_counted_and_the_first_is_named(project: Project, tmp_path: Path):
    run, lookup, client = _found(project)
    (model,) = [m for m in client.search_logged_models([run.experiment_id]) if m.name.endswith("0003")]
    client.set_logged_model_tags(model.model_id, {"omniopd.weights": "0" * 32})
    client.set_tag(run.run_id, "omniopd.teacher", "0" * 16)
    run = lookup.find("omniopd-0")
    trajectories, verdicts = run.rounds[1]
    run = replace(run, rounds={**run.rounds, 1: [replace(trajectories, digest="1" * 32), verdicts]})

    compared = reproduce(run, lookup, project.root, tmp_path / "again")

    assert compared == [
        Compared("inputs", 3, 4, "teacher"),
        Compared("data", 5, 6, "trajectories/round-0001.parquet"),
        Compared("checkpoints", 1, 2, "checkpoints/round-0003"),
    ]
    with pytest.raises(RunError) as caught:
        check_same(run, compared, [])
    assert str(caught.value) == (
        f"run {run.short_id} (omniopd-0) came out differently, first in its inputs: teacher "
        "(another machine or number of threads rounds differently)"
    )


def test_settings_that_were_tampered_with_are_refused_before_anything_is_made(
    project: Project, tmp_path: Path
):
    run, lookup, client = _found(project)
    content = lookup.config(run)
    content["settings"]["train"]["lr"] = 0.5
    client.log_text(run.run_id, json.dumps(content), "config.json")
    with pytest.raises(
        DataError, match=r"holds settings \w{16}, but the run was made with \w{16}: one of the two"
    ):
        reproduce(run, lookup, project.root, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_run_that_mlflow_has_no_config_of_is_refused(project: Project, tmp_path: Path):
    run, lookup, client = _found(project)
    other = client.create_run(run.experiment_id, tags=dict(run.tags), run_name="omniopd-0")
    run = lookup.find(other.info.run_id)
    with pytest.raises(DataError, match=f"run {run.short_id} .omniopd-0. has no config.json in MLflow"):
        reproduce(run, lookup, project.root, tmp_path / "again")


def test_the_params_written_resolve_to_the_settings_recorded(project: Project, tmp_path: Path):
    """Every setting, whatever its block; files that settings name are found under the same names."""
    (project.root / "prompts").mkdir()
    (project.root / "prompts" / "own.jsonl").write_text("")
    (project.root / ".env").write_text("KEY=1")
    (project.root / "teacher.sqlite").write_text("")
    (tmp_path / "student").mkdir()
    given = project.edit(
        prompts__source="prompts/own.jsonl",
        models__student="../student",
        teacher__kind="api",
        teacher__model="hosted_vllm/demo",
        rollout__temperature=0.9,
    ).edit_paths({"arms.omniopd.settings": {"alpha": 0.25}, "arms.omniopd.rollout": {"num_prompts": 8}})
    config = resolve(load_params(given.params_file), "omniopd", 0)
    path = tmp_path / "again" / "params.yaml"

    reproducing._write_params(config, path, project.root)

    written = resolve(load_params(path), "omniopd", 0)
    expected = config.model_dump()
    expected["tracking"]["experiment"] += "-reproduced"
    expected["teacher"]["offline"] = True
    expected["models"]["student"] = str(project.root / ".." / "student")
    assert written.model_dump() == expected
    for name in ("prompts/own.jsonl", ".env", "teacher.sqlite"):
        assert (path.parent / name).resolve() == project.root / name
    assert list(YAML(typ="safe").load(path.read_text())["arms"]) == ["omniopd"]


def test_differences_of_code_are_named(project: Project):
    run, _, _ = _found(project)
    assert code_differences(run, project.root) == []
    tags = {
        **run.tags,
        "omniopd.torch": "1.0",
        "mlflow.source.git.commit": "abc",
        "omniopd.git.changed": "true",
    }
    other = replace(run, tags=tags)
    commit, torch, changed = code_differences(other, project.root)
    assert commit == f"run {run.short_id} was made with commit abc; here it is none"
    assert torch.startswith(f"run {run.short_id} was made with torch 1.0; here it is ")
    assert (
        changed == f"run {run.short_id} was made with uncommitted changes: changes.patch in MLflow has them"
    )


def test_a_folder_of_another_run_or_of_other_things_is_left_alone(project: Project, tmp_path: Path):
    run, lookup, _ = _found(project)
    into = tmp_path / "again"
    write_json(into / "reproduces.json", {"run_id": "abc"})
    with pytest.raises(DataError, match="again: run abc is repeated here; give another folder with --into"):
        reproduce(run, lookup, project.root, into)
    with pytest.raises(DataError, match="project: is not empty; give an empty folder with --into"):
        reproduce(run, lookup, project.root, project.root)


def test_a_run_that_does_not_come_to_its_end_says_how_to_go_on(
    original: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run, lookup, _ = _found(original)
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(
        RunError, match=r"again: the run ended with 1; fix the error above, and run this command again"
    ):
        reproduce(run, lookup, original.root, tmp_path / "again")
