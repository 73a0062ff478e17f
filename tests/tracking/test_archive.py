"""From a run in MLflow to the bytes that it was trained on, wherever they lie by now."""

import json
import re
import shutil
from pathlib import Path

import pytest
from dvc_projects import dvc, run_without_dvc, under_dvc
from mlflow import MlflowClient
from projects import Project, digests
from typer.testing import CliRunner, Result

from omniopd.cli import app as cli
from omniopd.config import load_params
from omniopd.errors import DataError, TrackingError
from omniopd.tracking.lookup import Lookup
from omniopd.versions import commit

STAGE = "distill@omniopd-0"


pytestmark = pytest.mark.slow  # its runs are recorded in DVC


@pytest.fixture(scope="module")
def recorded_once(base_project: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("archive")
    project = under_dvc(base_project.copied_to(folder / "project"))
    project.edit(
        train__num_rounds=2, tracking__enabled=True, tracking__uri=f"sqlite:///{folder / 'mlflow.db'}"
    )
    run_without_dvc(project)
    assert commit(project.root, [STAGE]) is None
    return project


@pytest.fixture
def recorded(recorded_once: Project, tmp_path: Path) -> Project:
    """A project with a run of two rounds, recorded in MLflow and DVC."""
    return recorded_once.copied_to(tmp_path / "project")


@pytest.fixture
def run_id(recorded: Project) -> str:
    return Lookup(load_params(recorded.params_file).tracking).find("omniopd-0").run_id


def omniopd(project: Project, *arguments: str) -> Result:
    """A command; an error of the user is raised."""
    return CliRunner().invoke(
        cli.app, [*arguments, "--params", str(project.params_file)], catch_exceptions=False
    )


def _data(root: Path) -> dict[str, str]:
    kinds = ("trajectories", "verdicts", "rewards")
    return {name: md5 for name, md5 in digests(root).items() if name.startswith(kinds)}


def _run_other_settings(project: Project) -> None:
    project.edit_paths({"arms.omniopd.train": {"lr": 1e-3}})
    project.edit(tracking__enabled=False)
    run_without_dvc(project)


@pytest.mark.slow
def test_the_data_of_a_run_come_back_to_the_byte_from_the_cache_after_another_run_took_its_place(
    recorded: Project, run_id: str, tmp_path: Path
):
    expected = _data(recorded.run_dir())
    assert len(expected) == 4
    _run_other_settings(recorded)
    for aside in recorded.root.glob("runs/*.replaced-*"):
        shutil.rmtree(aside)
    assert _data(recorded.run_dir()) != expected

    done = omniopd(recorded, "data", "checkout", run_id, "--into", str(tmp_path / "out"))

    assert _data(tmp_path / "out") == expected
    assert done.stdout == f"4 files of run {run_id[:8]} (omniopd-0) are in {tmp_path / 'out'}\n"


def test_one_round_comes_back_alone_into_a_folder_named_after_the_run(recorded: Project, run_id: str):
    omniopd(recorded, "data", "checkout", f"{run_id[:12]}/1")
    expected = {name: md5 for name, md5 in _data(recorded.run_dir()).items() if name.endswith("0001.parquet")}
    assert _data(recorded.root / "checkout" / run_id[:8]) == expected


def test_the_data_of_a_run_that_was_set_aside_come_back_without_dvc(
    recorded: Project, run_id: str, tmp_path: Path
):
    expected = _data(recorded.run_dir())
    shutil.rmtree(recorded.root / ".dvc")
    _run_other_settings(recorded)
    omniopd(recorded, "data", "checkout", run_id, "--into", str(tmp_path / "out"))
    assert _data(tmp_path / "out") == expected


def test_the_data_come_back_from_a_remote_when_the_cache_is_gone(
    recorded: Project, run_id: str, tmp_path: Path
):
    expected = _data(recorded.run_dir())
    dvc(recorded, "remote", "add", "--default", "storage", str(tmp_path / "storage"))
    dvc(recorded, "push", STAGE)
    shutil.rmtree(recorded.root / ".dvc" / "cache")
    shutil.rmtree(recorded.root / "runs")
    listed = json.loads(omniopd(recorded, "data", "list", run_id, "--json").stdout)
    assert {file["place"]["kind"] for file in listed["files"]} == {"remote"}
    omniopd(recorded, "data", "checkout", "omniopd-0", "--into", str(tmp_path / "out"))
    assert _data(tmp_path / "out") == expected


def test_a_file_that_is_nowhere_is_named_with_what_to_do_and_nothing_is_written(
    recorded: Project, run_id: str, tmp_path: Path
):
    name = "verdicts/round-0001.parquet"
    digest = _data(recorded.run_dir())[name]
    (recorded.run_dir() / name).write_bytes(b"overwritten")
    (recorded.root / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]).unlink()
    with pytest.raises(DataError) as caught:
        omniopd(recorded, "data", "checkout", run_id, "--into", str(tmp_path / "out"))
    assert str(caught.value) == (
        f"run {run_id[:8]} (omniopd-0): 1 of 4 files are missing, the first {name} (md5 {digest}): neither below "
        "runs/ nor in DVC's cache or a remote; `dvc push` where the run was made, or repeat the run: omniopd "
        f"reproduce {run_id[:8]}"
    )
    assert not (tmp_path / "out").exists()
    round_, file_name, _, *rest = omniopd(recorded, "data", "list", run_id).stdout.splitlines()[-1].split()
    assert (round_, file_name, rest) == ("1", name, [digest[:12], "nowhere"])


def test_a_cache_that_was_damaged_is_noticed(recorded: Project, run_id: str, tmp_path: Path):
    name = "trajectories/round-0000.parquet"
    digest = _data(recorded.run_dir())[name]
    shutil.rmtree(recorded.root / "runs")
    cached = recorded.root / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]
    cached.chmod(0o644)
    cached.write_bytes(b"damaged")
    with pytest.raises(DataError, match=rf"cache {re.escape(str(cached))}: has md5 \w+ for {digest}"):
        omniopd(recorded, "data", "checkout", run_id, "--into", str(tmp_path / "out"))


def test_the_list_has_a_line_for_each_run_and_for_each_file_of_one_with_its_place(
    recorded: Project, run_id: str
):
    lines = omniopd(recorded, "data", "list").stdout.splitlines()
    assert lines[0].split() == ["run", "name", "status", "rounds", "begun", "(UTC)"]
    assert lines[1].split()[:4] == [run_id[:8], "omniopd-0", "finished", "2"]
    lines = omniopd(recorded, "data", "list", "omniopd-0").stdout.splitlines()
    assert lines[0].startswith(f"run {run_id}: omniopd-0, finished, ")
    expected = _data(recorded.run_dir())
    listed = [line.split() for line in lines[2:]]
    assert {row[1]: row[3] for row in listed} == {name: md5[:12] for name, md5 in expected.items()}
    assert [row[0] for row in listed] == ["0", "0", "1", "1"]
    assert {row[4] for row in listed} == {"workspace"}
    assert max(map(len, lines[1:])) <= 80


# --- which run


def test_an_unknown_run_or_round_is_named_with_the_known_ones(recorded: Project, run_id: str):
    for name, message in {
        "sft-0": "sft-0: sqlite:.* has no run of this id or name; `omniopd data list` shows the runs of",
        "0123456789": "0123456789: sqlite:.* has no run",
        "omniopd-0/7": f"run {run_id[:8]} .omniopd-0.: MLflow has no round 7; it has rounds 0 to 1; take one of those",
        "omniopd-0/last": "'last' is not the number of a round; write RUN or RUN/ROUND, such as omniopd-0/7",
    }.items():
        with pytest.raises(DataError, match=message):
            omniopd(recorded, "data", "checkout", name)


def test_an_id_that_several_runs_begin_with_is_refused_and_the_runs_are_named(recorded: Project):
    tracking = load_params(recorded.edit(tracking__experiment="many").params_file).tracking
    client = MlflowClient(tracking.uri)
    experiment = client.create_experiment("many")
    tags = {"omniopd.key": "k", "omniopd.arm": "many", "omniopd.seed": "0"}
    ids = [client.create_run(experiment, tags=tags, run_name="many-0").info.run_id for _ in range(17)]
    shared = next(first for first in "0123456789abcdef" if sum(name.startswith(first) for name in ids) > 1)
    with pytest.raises(DataError, match=rf"{shared}: the ids of \d+ runs begin so: {shared}\w+ \(many-0\), "):
        Lookup(tracking).find(shared)
    assert Lookup(tracking).find(ids[3]).run_id == ids[3]
    assert Lookup(tracking).find("many-0").run_id in ids


@pytest.mark.slow
def test_of_two_runs_of_a_name_the_latest_is_meant(recorded: Project, run_id: str):
    recorded.edit_paths({"arms.omniopd.train": {"lr": 2e-3}})
    run_without_dvc(recorded)
    lookup = Lookup(load_params(recorded.params_file).tracking)
    assert [run.name for run in lookup.runs()] == ["omniopd-0", "omniopd-0"]
    assert lookup.find("omniopd-0").run_id == lookup.runs()[0].run_id != run_id
    assert lookup.find(run_id).run_id == run_id


def test_a_store_that_is_not_there_is_not_made(recorded: Project, tmp_path: Path):
    recorded.edit(tracking__uri=f"sqlite:///{tmp_path / 'none.db'}")
    with pytest.raises(TrackingError, match=r"none\.db: no such file; run where it is, or fix tracking\.uri"):
        omniopd(recorded, "data", "list")
    assert not (tmp_path / "none.db").exists()


def test_a_server_that_does_not_answer_is_named(recorded: Project):
    recorded.edit(tracking__uri="http://127.0.0.1:9")
    with pytest.raises(TrackingError, match=r"http://127\.0\.0\.1:9: MLflow does not answer .*; start it"):
        omniopd(recorded, "data", "list")
