"""What a run made without `dvc repro` is recorded in DVC, and can be looked up there."""

import hashlib
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dvc_projects import ENVIRONMENT, STAGES, dvc, run_without_dvc, under_dvc
from projects import Project

from omniopd import versions
from omniopd.errors import DataError
from omniopd.versions import Place, Store, commit


@pytest.fixture(scope="module")
def recorded_once(base_project: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = under_dvc(base_project.copied_to(tmp_path_factory.mktemp("versions") / "project"))
    run_without_dvc(project)
    assert commit(project.root, STAGES) is None
    return project


@pytest.fixture
def recorded(recorded_once: Project, tmp_path: Path) -> Project:
    """A project whose run was recorded; to be changed."""
    return recorded_once.copied_to(tmp_path / "project")


@pytest.mark.slow
def test_after_a_commit_dvc_finds_nothing_to_do(recorded_once: Project):
    assert "up to date" in dvc(recorded_once, "status", *STAGES)
    for stage in STAGES:
        assert f"Stage '{stage}' didn't change, skipping" in dvc(
            recorded_once, "repro", "--single-item", stage
        )


@pytest.mark.slow
def test_what_another_run_made_is_recorded_in_its_turn(recorded: Project):
    recorded.edit_paths({"arms.omniopd.train": {"lr": 1e-3}})
    assert "resolve" in dvc(recorded, "status")
    run_without_dvc(recorded)
    assert commit(recorded.root, ["distill@omniopd-0"]) is None
    assert "up to date" in dvc(recorded, "status", *STAGES)


def test_where_there_is_no_dvc_nothing_is_done(project: Project, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("something was started"))
    assert commit(project.root, STAGES) is None
    (project.root / "dvc.yaml").write_text("stages: {}")
    assert commit(project.root, STAGES) is None


@pytest.mark.slow
def test_a_stage_that_dvc_runs_is_left_to_dvc(recorded_once: Project, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DVC_STAGE", "distill@omniopd-0")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("something was started"))
    assert commit(recorded_once.root, STAGES) is None


@pytest.mark.slow
def test_while_another_dvc_holds_the_lock_a_sentence_says_what_to_run_later(recorded: Project):
    holder = _hold_lock(recorded)
    try:
        assert commit(recorded.root, ["distill@omniopd-0"]) == (
            "DVC did not record distill@omniopd-0 (another dvc process is running here); resolve that, then "
            "run `dvc commit --force distill@omniopd-0`"
        )
    finally:
        holder.terminate()
        holder.wait()
    assert commit(recorded.root, ["distill@omniopd-0"]) is None


def _hold_lock(project: Project) -> subprocess.Popen:
    program = (
        "import time\nfrom dvc.repo import Repo\n"
        "with Repo('.').lock:\n    open('held', 'w').close()\n    time.sleep(120)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", program], cwd=project.root, env=ENVIRONMENT)
    deadline = time.monotonic() + 60
    while not (project.root / "held").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return holder


@pytest.mark.slow
def test_while_a_repro_is_writing_the_same_outputs_a_sentence_says_what_to_run_later(recorded: Project):
    """A stage that runs holds no lock of the project, but one of each output."""
    (recorded.root / "dvc.yaml").write_text(
        "stages:\n  slow:\n    cmd: touch begun && sleep 60 && echo a > out\n    outs: [out]\n"
    )
    (recorded.root / "dvc.lock").unlink()
    repro = subprocess.Popen(
        ["dvc", "repro", "slow"],
        cwd=recorded.root,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not (recorded.root / "begun").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        (recorded.root / "out").write_text("half")
        warning = commit(recorded.root, ["slow"])
    finally:
        subprocess.run(["kill", "--", f"-{repro.pid}"], check=True)
        repro.wait()
    assert warning is not None
    assert "another dvc process is running here" in warning


@pytest.mark.slow
def test_a_commit_that_fails_says_why_and_what_to_run(recorded: Project):
    warning = commit(recorded.root, ["distill@nothing-0"])
    assert warning is not None
    assert "Stage 'distill@nothing-0' not found inside 'dvc.yaml' file); resolve that, then run" in warning
    assert warning.endswith("run `dvc commit --force distill@nothing-0`")


# --- looked up


def _some_file(project: Project) -> tuple[Path, str]:
    path = project.run_dir() / "verdicts" / "round-0003.parquet"
    return path, hashlib.md5(path.read_bytes()).hexdigest()


@pytest.mark.slow
def test_a_file_is_located_in_the_cache_then_in_a_remote_then_nowhere(recorded: Project, tmp_path: Path):
    path, digest = _some_file(recorded)
    dvc(recorded, "remote", "add", "empty", str(tmp_path / "empty"))
    dvc(recorded, "remote", "add", "storage", str(tmp_path / "storage"))
    dvc(recorded, "push", "--remote", "storage", STAGES[-1])
    cached = recorded.root / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]
    assert Store(recorded.root).find([digest, "0" * 32]) == {digest: Place("cache", str(cached))}
    content = path.read_bytes()
    cached.unlink()
    store = Store(recorded.root)
    assert store.find([digest]) == {digest: Place("remote", "storage")}
    store.copy(digest, Place("remote", "storage"), tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content


@pytest.mark.slow
def test_a_remote_that_cannot_be_reached_is_named(recorded: Project):
    _, digest = _some_file(recorded)
    dvc(recorded, "remote", "add", "gone", "s3://bucket/path")
    (recorded.root / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]).unlink()
    store = Store(recorded.root)
    assert store.find([digest]) == {}
    assert "s3" in store.problems["gone"]


@pytest.mark.slow
def test_a_copy_of_another_content_is_refused_and_leaves_nothing(recorded: Project, tmp_path: Path):
    path, digest = _some_file(recorded)
    place = Place("workspace", str(path))
    with path.open("ab") as file:
        file.write(b"!")
    with pytest.raises(DataError, match=f"for {digest}; delete it there"):
        Store(recorded.root).copy(digest, place, tmp_path / "folder" / "copy")
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_folder_without_dvc_has_no_store(tmp_path: Path):
    assert Store(tmp_path).find(["0" * 32]) == {}


def test_dvc_is_imported_only_where_it_is_asked():
    program = f"import sys, {versions.__name__}; sys.exit('dvc' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
