"""--push: both folders reach a hub on loopback, and the token reaches nothing else."""

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from chatting import APACHE
from commands import files
from hub_server import Hub, serving_hub
from huggingface_hub import constants
from loopback import HOST
from projects import Project

from omniopd.errors import HubError
from omniopd.export import hub as pushing
from omniopd.export.folders import Exported, export_run


@pytest.fixture(scope="module")
def exported(finished_project: Project, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    out = tmp_path_factory.mktemp("exports") / "mine"
    return export_run(finished_project.run_dir(), out, with_data=True, repo="me/mine")


@pytest.fixture
def data(exported: Exported) -> Path:
    assert exported.data is not None
    return exported.data


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving_hub() as served:
        use(served.origin, monkeypatch)
        monkeypatch.setenv("HF_TOKEN", served.token)
        yield served


def use(origin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have huggingface_hub, which read its environment when it was imported, ask that hub."""
    monkeypatch.setattr(constants, "ENDPOINT", origin)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def published(folder: Path) -> dict[str, bytes]:
    """The files of a folder that are for others."""
    names = [name for name in files(folder) if (folder / name).is_file() and name != "export.json"]
    return {name: (folder / name).read_bytes() for name in names}


# --- what arrives


def test_model_and_data_arrive_whole(hub: Hub, exported: Exported, data: Path):
    assert pushing.push(exported.model, "me/mine") == f"{hub.origin}/me/mine"
    assert pushing.push(data, "me/mine-data", kind="dataset") == f"{hub.origin}/datasets/me/mine-data"

    assert hub.repositories["model", "me/mine"].files == published(exported.model)
    assert hub.repositories["dataset", "me/mine-data"].files == published(data)
    assert not hub.repositories["model", "me/mine"].private


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub 1.33 on httpx 0.28
def test_large_files_go_to_the_storage_that_the_hub_names(
    hub: Hub, exported: Exported, monkeypatch: pytest.MonkeyPatch
):
    hub.uses_lfs = True
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)

    pushing.push(exported.model, "me/mine")

    assert [request.path for request in hub.requests if request.method == "PUT"]
    assert hub.repositories["model", "me/mine"].files == published(exported.model)


def test_a_repository_is_pushed_to_again(hub: Hub, exported: Exported, tmp_path: Path):
    pushing.push(exported.model, "me/mine")
    hub.repositories["model", "me/mine"].files["notes.md"] = b"by hand"
    shutil.copytree(exported.model, tmp_path / "mine")
    (tmp_path / "mine" / "LICENSE").write_text(APACHE)

    pushing.push(tmp_path / "mine", "me/mine")

    repository = hub.repositories["model", "me/mine"]
    assert repository.files == {**published(tmp_path / "mine"), "notes.md": b"by hand"}
    assert len(repository.commits) == 2


def test_private_means_private(hub: Hub, exported: Exported):
    pushing.push(exported.model, "me/hidden", private=True)
    assert hub.repositories["model", "me/hidden"].private

    pushing.push(exported.model, "me/mine")
    with pytest.raises(HubError, match="me/mine: exists and is public; make it private .*--private"):
        pushing.push(exported.model, "me/mine", private=True)
    assert len(hub.repositories["model", "me/mine"].commits) == 1


# --- what goes wrong


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_a_refused_token_a_foreign_owner_and_a_broken_hub_are_named(
    kind: pushing.Kind, hub: Hub, exported: Exported, data: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = exported.model if kind == "model" else data
    kept = rf"{folder} is kept"
    with pytest.raises(HubError, match=f"somebody/mine: .*owner.*{kept}"):
        pushing.push(folder, "somebody/mine", kind=kind)
    hub.broken = 413  # later ones are retried for a while
    with pytest.raises(HubError, match=f"me/mine: .*answers 413 .*bad day.*{kept}"):
        pushing.push(folder, "me/mine", kind=kind)
    monkeypatch.setenv("HF_TOKEN", "hf_of-somebody-else-0123456789")
    with pytest.raises(HubError, match=f"me/mine: .*does not accept the token.*{kept}") as caught:
        pushing.push(folder, "me/mine", kind=kind)
    assert "somebody-else" not in str(caught.value)
    assert folder.is_dir()


def test_without_a_token_nothing_is_asked(
    hub: Hub, exported: Exported, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))

    with pytest.raises(HubError, match=f"no token.*HF_TOKEN.*{exported.model} is kept"):
        pushing.push(exported.model, "me/mine")

    assert hub.requests == []


def test_a_hub_that_cannot_be_reached_is_named(exported: Exported, monkeypatch: pytest.MonkeyPatch):
    with serving_hub() as gone:
        pass
    monkeypatch.setenv("HF_TOKEN", gone.token)
    use(gone.origin, monkeypatch)
    with pytest.raises(HubError, match=f"{gone.origin} cannot be reached.*HF_ENDPOINT.*is kept"):
        pushing.push(exported.model, "me/mine")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="HF_HUB_OFFLINE.*is kept"):
        pushing.push(exported.model, "me/mine")


@pytest.mark.usefixtures("hub")
def test_a_card_that_the_hub_refuses_is_no_crash(exported: Exported, tmp_path: Path):
    shutil.copytree(exported.model, tmp_path / "mine")
    (tmp_path / "mine" / "README.md").write_text("---\nlicense: [1]\n---\n")

    with pytest.raises(HubError, match="me/mine: .*answers 400 .*license"):
        pushing.push(tmp_path / "mine", "me/mine")


# --- the token


def test_the_token_is_in_no_record_of_the_log(
    hub: Hub, exported: Exported, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    wrong = "hf_wrong-0123456789-wrong"

    pushing.push(exported.model, "me/mine")
    monkeypatch.setenv("HF_TOKEN", wrong)
    with pytest.raises(HubError) as caught:
        pushing.push(exported.model, "me/mine")

    assert caplog.text
    for token in (hub.token, wrong):
        assert token not in caplog.text
        assert token not in str(caught.value)


@pytest.mark.slow
def test_the_command_exports_and_pushes_and_keeps_the_folder_where_that_fails(
    finished_project: Project, tmp_path: Path
):
    project = finished_project.copied_to(tmp_path / "project")
    with serving_hub() as hub:
        done = export(project, hub.origin, hub.token, "--data", "--push", "me/mine", "--private")
        wrong = export(project, hub.origin, "hf_wrong-0123456789-wrong", "--push", "me/mine")
    gone = export(project, f"http://{HOST}:9", hub.token, "--push", "me/mine")

    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-2:] == [f"{hub.origin}/me/mine", f"{hub.origin}/datasets/me/mine-data"]
    assert hub.repositories["dataset", "me/mine-data"].private
    card = hub.repositories["model", "me/mine"].files["README.md"].decode()
    assert 'from_pretrained("me/mine")' in card
    assert "- me/mine-data" in card
    for failed in (wrong, gone):
        assert failed.returncode == 2
        assert "Traceback" not in failed.stderr
        assert len(failed.stderr.splitlines()) == 2, failed.stderr
        assert "exports/omniopd-0 is kept" in failed.stderr
    assert (project.root / "exports" / "omniopd-0" / "model.safetensors").is_file()
    made = [path.read_bytes() for path in project.root.rglob("*") if path.is_file()]
    printed = [text.encode() for each in (done, wrong, gone) for text in (each.stdout, each.stderr)]
    uploaded = [content for each in hub.repositories.values() for content in each.files.values()]
    for token in (hub.token.encode(), b"hf_wrong-0123456789-wrong"):
        assert not [content for content in (*made, *printed, *uploaded) if token in content]


def export(project: Project, origin: str, token: str, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": origin, "HF_TOKEN": token}
    command = [Path(sys.executable).with_name("omniopd"), "export", "omniopd", *options]
    return subprocess.run(
        command, cwd=project.root, env=environment, capture_output=True, text=True, timeout=500, check=False
    )
