"""The flow as a user starts it, and what it must not depend on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from projects import REPOSITORY, Project, digests, run_plain

TESTS = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def plain(base_project: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The digests of a run without Prefect and with one shard."""
    project = base_project.copied_to(tmp_path_factory.mktemp("plain") / "project")
    run_plain(project.params_file)
    return digests(project.run_dir())


def _results(found: dict[str, str]) -> dict[str, str]:
    """The digests of what a run made under whatever settings: a key stands in every manifest and receipt."""
    kept = ("trajectories/", "verdicts/", "metrics.jsonl")
    return {name: digest for name, digest in found.items() if name.startswith(kept) or "safetensors" in name}


def _start_flow(project: Project) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{TESTS}"}
    environment.pop("PREFECT_API_URL", None)
    return subprocess.Popen(
        [sys.executable, "-m", "flows", "distill", "--arm", "omniopd"],
        cwd=project.root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _servers_of(root: Path) -> list[psutil.Process]:
    """The Prefect servers whose state lies in that folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if "prefect.server" in " ".join(process.cmdline()) and process.cwd() == str(root):
                found.append(process)
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


def test_the_flow_through_prefect_is_killed_and_resumed_and_gives_the_bytes_of_plain_calls(
    project: Project, plain: dict[str, str]
):
    """Three shards, a teacher that fails once and is asked again, a kill -9 in the middle, and a second start."""
    project.edit(rollout__num_shards=3, teacher__kind="fakes:FlakyTeacher")
    first = _start_flow(project)
    second_round = project.run_dir() / "manifests" / "round-0001.json"
    deadline = time.monotonic() + 120
    while not second_round.exists():
        assert first.poll() is None, first.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert (project.root / "teacher-failed-once").exists()

    second = _start_flow(project)
    output, _ = second.communicate(timeout=300)
    assert second.returncode == 0, output
    assert "Traceback" not in output
    assert "at the end" in output
    assert _results(digests(project.run_dir())) == _results(plain)
    log = (project.run_dir() / "run.log").read_text()
    assert "round 0001 · verify · shard 3/3" in log
    deadline = time.monotonic() + 10  # the killed run's server ends by itself
    while _servers_of(project.root) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _servers_of(project.root) == []
    assert (project.root / ".prefect").is_dir()


def test_nothing_of_the_teacher_but_its_text_reaches_the_student(project: Project, plain: dict[str, str]):
    project.edit(teacher__kind="fakes:TextOnlyTeacher")
    run_plain(project.params_file)
    assert _results(digests(project.run_dir())) == _results(plain)


def test_the_teacher_changes_what_is_learnt(project: Project, plain: dict[str, str]):
    """The test above could not fail if the teacher had no say at all."""
    project.edit(teacher__temperature=0.0)
    run_plain(project.params_file)
    assert _results(digests(project.run_dir())) != _results(plain)


@pytest.mark.parametrize("num_shards", [2, 3])
def test_the_number_of_shards_changes_no_byte(project: Project, plain: dict[str, str], num_shards: int):
    from flows import shards

    def in_turn(step, run_dir, round_, count):
        return [step(run_dir, round_, index, count) for index in reversed(range(count))][::-1]

    project.edit(rollout__num_shards=num_shards)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "_submitted", in_turn)
        run_plain(project.params_file)
    found, expected = digests(project.run_dir()), dict(plain)
    assert found.pop("config.json") != expected.pop("config.json")  # it names the number of shards
    assert found == expected


def test_models_named_beside_params_yaml_give_the_results_of_the_same_models_made_here(
    project: Project, plain: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    from omniopd.config import load_params
    from omniopd.data.layout import Layout
    from omniopd.stages.base import base

    (project.root / "models" / "seed-0").rename(project.root / "mine")
    project.edit(models__student="mine/student", teacher__model="./mine/teacher")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    base(load_params(project.params_file), 0, Layout(project.root), on_step=lambda *_: None)
    run_plain(project.params_file)
    trajectories = {name: md5 for name, md5 in plain.items() if name.startswith("trajectories/")}
    found = digests(project.run_dir())
    assert {name: found[name] for name in trajectories} == trajectories
    assert not any(elsewhere.iterdir())


def test_several_samples_a_prompt_share_their_prompt_and_differ(project: Project):
    from omniopd.data.records import Trajectory
    from omniopd.data.store import read_records

    project.edit(rollout__num_prompts=4, rollout__num_samples=2, train__num_rounds=1)
    run_plain(project.params_file)
    trajectories = read_records(project.run_dir() / "trajectories" / "round-0000.parquet", Trajectory)
    assert len(trajectories) == 8
    pairs = list(zip(trajectories[::2], trajectories[1::2], strict=True))
    assert all(a.prompt_id == b.prompt_id and a.seed != b.seed for a, b in pairs)
    assert any(a.response != b.response for a, b in pairs)
