"""The flow as a user starts it, and what it must not depend on."""

import signal
from contextlib import contextmanager
from pathlib import Path

import pytest
from projects import Project, digests, run_plain
from quick import quick
from started import all_ended, finished, processes_in, start, wait_until


@pytest.fixture(scope="module")
def plain(finished_project: Project) -> dict[str, str]:
    """The digests of a run without Prefect and with one shard."""
    return digests(finished_project.run_dir())


def _results(run: dict[str, str]) -> dict[str, str]:
    """The digests that do not depend on settings, as those of manifests and receipts do, which hold a key."""
    kept = ("trajectories/", "verdicts/", "metrics.jsonl")
    return {name: digest for name, digest in run.items() if name.startswith(kept) or "safetensors" in name}


def test_the_flow_through_prefect_is_killed_and_resumed_and_gives_the_bytes_of_plain_calls(
    project: Project, plain: dict[str, str], warm: Path
):
    """Three shards, a teacher that fails once and is asked again, a kill -9 in the middle, and a second start."""
    project.edit(rollout__num_shards=3, teacher__kind="fakes:FlakyTeacher")
    command = (str(warm / "python"), "-m", "flows", "distill", "--arm", "omniopd")
    first = start(project, *command)
    second_round = project.run_dir() / "manifests" / "round-0001.json"
    wait_until(second_round.exists, first)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert (project.root / "teacher-failed-once").exists()

    output = finished(start(project, *command))
    assert "Traceback" not in output
    assert "at the end" in output
    assert _results(digests(project.run_dir())) == _results(plain)
    log = (project.run_dir() / "run.log").read_text()
    assert "round 0001 · verify · shard 3/3" in log
    assert all_ended(project.root), processes_in(project.root)  # the server of the killed run too, by itself
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


@pytest.mark.parametrize("num_shards", quick([2, 3], keep=[3]))
def test_the_number_of_shards_changes_no_byte(project: Project, plain: dict[str, str], num_shards: int):
    @contextmanager
    def last_first(config):
        def run_shards(step, run_dir, round_):
            count = config.rollout.num_shards
            return [step(run_dir, round_, index, count) for index in reversed(range(count))][::-1]

        yield run_shards

    project.edit(rollout__num_shards=num_shards)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flows.distill.sharded", last_first)
        run_plain(project.params_file)
    results, expected = digests(project.run_dir()), dict(plain)
    assert results.pop("config.json") != expected.pop("config.json")  # it names the number of shards
    assert results == expected


@pytest.mark.slow
def test_models_at_a_path_relative_to_params_yaml_give_the_results_of_the_same_models_made_here(
    project: Project, plain: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    from omniopd.config import load_params
    from omniopd.data.layout import Layout
    from omniopd.inputs.base import base

    (project.root / "models" / "seed-0").rename(project.root / "mine")
    project.edit(models__student="mine/student", teacher__model="./mine/teacher")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    base(load_params(project.params_file), 0, Layout(project.root), on_step=lambda *_: None)
    run_plain(project.params_file)
    trajectories = {name: md5 for name, md5 in plain.items() if name.startswith("trajectories/")}
    results = digests(project.run_dir())
    assert {name: results[name] for name in trajectories} == trajectories
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
