"""A run that is killed, damaged or repeated ends with the bytes of one that was left alone."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
from projects import Project, digests, run_plain
from quick import quick

from omniopd.config import load_params
from omniopd.data.layout import Layout
from omniopd.data.lock import only_writer
from omniopd.errors import ModelError, RunError
from omniopd.rounds.start import start_run

# A fork server that has imported everything: a start costs a fraction of a second, not ten.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["projects", "flows.distill"])


@pytest.fixture(scope="module")
def undisturbed(finished_project: Project) -> dict[str, str]:
    """The digests of a run that nobody disturbed."""
    return digests(finished_project.run_dir())


def _start(project: Project) -> multiprocessing.process.BaseProcess:
    process = PROCESSES.Process(target=run_plain, args=(project.params_file,))
    process.start()
    return process


def _run(project: Project) -> multiprocessing.process.BaseProcess:
    process = _start(project)
    process.join(120)
    return process


@pytest.mark.slow
def test_a_run_killed_at_any_moment_ends_with_the_same_bytes(
    base_project: Project, undisturbed, tmp_path: Path
):
    """Runs are started and killed until they end by themselves, and new ones begun until enough kills landed."""
    assert _run(base_project.copied_to(tmp_path / "first")).exitcode == 0  # starts the fork server
    start = time.monotonic()
    timed = base_project.copied_to(tmp_path / "timed")
    assert _run(timed).exitcode == 0
    seconds = time.monotonic() - start
    assert digests(timed.run_dir()) == undisturbed
    rng = random.Random(0)
    num_killed = 0
    for campaign in range(20):
        project = base_project.copied_to(tmp_path / f"project-{campaign}")
        while True:
            process = _start(project)
            process.join(rng.uniform(0.1, 0.6) * seconds)
            if not process.is_alive():
                break
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            num_killed += 1
        # It may have ended between the look and the signal; one more start finds nothing left to do.
        assert _run(project).exitcode == 0
        assert digests(project.run_dir()) == undisturbed
        if num_killed >= 10:
            break
    assert num_killed >= 10


@pytest.mark.slow
def test_a_teacher_in_this_process_costs_no_seconds_of_importing_litellm(project: Project):
    process = PROCESSES.Process(target=_run_without_litellm, args=(project.params_file,))
    process.start()
    process.join(120)
    assert process.exitcode == 0


def _run_without_litellm(params_file: Path) -> None:
    run_plain(params_file)
    sys.exit("litellm was imported" if "litellm" in sys.modules else 0)


@pytest.mark.slow
def test_every_piece_of_work_is_done_once_although_the_run_was_killed_between_rounds(
    project: Project, undisturbed
):
    process = _start(project)
    third = project.run_dir() / "manifests" / "round-0002.json"
    while not third.exists():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    before = {
        path: path.stat().st_mtime_ns for path in (project.run_dir() / "verdicts").glob("round-000[012]*")
    }
    assert len(before) == 3
    assert _run(project).exitcode == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert digests(project.run_dir()) == undisturbed


DAMAGES = {
    "a flipped byte in trajectories": lambda run: _flip(run / "trajectories" / "round-0001.parquet"),
    "truncated verdicts": lambda run: _truncate(run / "verdicts" / "round-0003.parquet"),
    "a missing manifest": lambda run: (run / "manifests" / "round-0002.json").unlink(),
    "a broken manifest": lambda run: _truncate(run / "manifests" / "round-0005.json"),
    "a missing checkpoint shard": lambda run: (
        run / "checkpoints" / "round-0002" / "model.safetensors"
    ).unlink(),
    "a flipped byte in the last optimiser": lambda run: _flip(
        run / "checkpoints" / "round-0005" / "optimizer.safetensors"
    ),
    "half a line of metrics": lambda run: _truncate(run / "metrics.jsonl"),
    "no metrics": lambda run: (run / "metrics.jsonl").unlink(),
    "no config": lambda run: (run / "config.json").unlink(),
    "stale files": lambda run: shutil.copy(
        run / "verdicts" / "round-0001.parquet", run / "verdicts" / "round-0099.parquet"
    ),
}


@pytest.mark.parametrize(
    "damage",
    quick(
        list(DAMAGES),
        keep=["a flipped byte in trajectories", "a missing checkpoint shard", "half a line of metrics"],
    ),
)
def test_what_was_damaged_is_noticed_and_made_again(finished: Project, undisturbed, damage: str):
    DAMAGES[damage](finished.run_dir())
    assert digests(finished.run_dir()) != undisturbed
    run_plain(finished.params_file)
    assert digests(finished.run_dir()) == undisturbed


@pytest.fixture
def finished(finished_project: Project, tmp_path: Path) -> Project:
    """A finished run, to damage."""
    return finished_project.copied_to(tmp_path / "project")


def test_a_finished_run_is_not_touched_again(finished: Project):
    run_dir = finished.run_dir()
    before = {
        path: path.stat().st_mtime_ns
        for path in run_dir.rglob("*")
        if path.is_file() and path.name != "run.log"
    }
    run_plain(finished.params_file)
    after = {
        path: path.stat().st_mtime_ns
        for path in run_dir.rglob("*")
        if path.is_file() and path.name != "run.log"
    }
    assert after == before


def test_a_run_of_other_settings_is_set_aside_and_not_overwritten(finished: Project, capfd):
    before = digests(finished.run_dir())
    finished.edit_paths({"arms.omniopd.train": {"lr": 1e-3}, "train.num_rounds": 2})
    run_plain(finished.params_file)
    (aside,) = finished.run_dir().parent.glob("omniopd-0.replaced-*")
    assert (
        f"warning: {finished.run_dir()}: the settings or the version of omniopd changed since this run was started, so "
        f"it starts again; the earlier run is kept as {aside.name}"
    ) in capfd.readouterr().err
    assert digests(aside) == before
    assert len(list((finished.run_dir() / "manifests").iterdir())) == 3


def test_settings_that_go_back_and_forth_set_every_run_aside(project: Project):
    layout = Layout(project.root)
    for num_rounds in (5, 6, 5, 6, 5):
        start_run(load_params(project.edit(train__num_rounds=num_rounds).params_file), "omniopd", 0, layout)
    names = [path.name.removeprefix("omniopd-0") for path in layout.run("omniopd", 0).root.parent.iterdir()]
    assert len(names) == 5
    assert sum(name.endswith("-2") for name in names) == 2


def test_shards_and_tracking_do_not_make_another_run(finished: Project):
    before = digests(finished.run_dir())
    finished.edit(rollout__num_shards=3, tracking__experiment="other")
    run_plain(finished.params_file)
    after = digests(finished.run_dir())
    assert not list(finished.run_dir().parent.glob("*.replaced-*"))
    assert {name for name in before if before[name] != after[name]} == {"config.json"}


INPUTS = {
    "a flipped byte in the student": lambda root: _flip(
        root / "models" / "seed-0" / "student" / "model.safetensors"
    ),
    "no teacher": lambda root: shutil.rmtree(root / "models" / "seed-0" / "teacher"),
    "truncated prompts": lambda root: _truncate(root / "data" / "seed-0" / "train.jsonl"),
    "nothing at all": lambda root: [shutil.rmtree(root / name) for name in ("data", "models")],
}


@pytest.mark.parametrize("damage", quick(list(INPUTS), keep=["a flipped byte in the student"]))
def test_prompts_and_models_are_made_where_a_run_does_not_find_them_whole(
    project: Project, undisturbed, damage: str
):
    INPUTS[damage](project.root)
    run_plain(project.params_file)
    assert digests(project.run_dir()) == undisturbed


def test_prompts_of_other_settings_are_made_anew(finished: Project):
    before = (finished.root / "data" / "seed-0" / "train.jsonl").read_text()
    finished.edit(prompts__num_train=41)
    run_plain(finished.params_file)
    after = (finished.root / "data" / "seed-0" / "train.jsonl").read_text()
    assert len(after.splitlines()) == len(before.splitlines()) + 1
    assert list(finished.run_dir().parent.glob("omniopd-0.replaced-*")), "they are inputs of another run"


def test_under_dvc_a_model_that_has_changed_since_it_was_recorded_is_refused(
    project: Project, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("DVC_STAGE", "distill@omniopd-0")  # which makes the inputs itself
    config = project.root / "models/seed-0/student/generation_config.json"
    before = config.read_text()
    config.write_text(before + " ")
    with pytest.raises(
        ModelError, match="/student: is not the student that `omniopd base --seed 0` recorded"
    ):
        run_plain(project.params_file)
    assert not (project.run_dir() / "config.json").exists()
    config.write_text(before)
    start_run(load_params(project.params_file), "omniopd", 0, Layout(project.root))


def test_weights_that_cannot_be_rebuilt_stop_the_run_with_a_sentence(
    finished: Project, monkeypatch: pytest.MonkeyPatch
):
    # As on a machine that rounds differently: the recorded digest of the weights is not what replay gives.
    monkeypatch.setattr("flows.distill.make_inputs", lambda *_: None)  # which would notice
    run_dir = finished.run_dir()
    config = json.loads((run_dir / "config.json").read_text())
    other = finished.root / "models" / "seed-0" / "student" / "model.safetensors"
    _flip(other, at=-5)
    shutil.rmtree(run_dir / "checkpoints")
    assert json.loads((run_dir / "config.json").read_text()) == config
    with pytest.raises(RunError, match="was written by weights .* but the rebuilt weights are"):
        run_plain(finished.params_file)


def test_a_second_writer_is_refused_and_told_who_holds_the_run(project: Project):
    lock = project.root / "runs" / ".omniopd-0.lock"
    with (
        only_writer(lock, of="runs/omniopd-0"),
        pytest.raises(RunError, match=rf"is being written by process {os.getpid()} on "),
    ):
        run_plain(project.params_file)


def _flip(path: Path, at: int = -40) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def _truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
