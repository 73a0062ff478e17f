"""A new project: its files, and that nothing is overwritten."""

import json
import subprocess
from pathlib import Path

import pytest
from projects import REPOSITORY
from ruamel.yaml import YAML

from omniopd.config import load_params
from omniopd.config.overrides import RECIPES
from omniopd.errors import ConfigError, DataError
from omniopd.inputs import project as projects
from omniopd.inputs.project import Wanted, create_project

FILES = {"params.yaml", "dvc.yaml", "prefect.yaml", ".gitignore", "README.md"}
NAMES = sorted(file.name.removesuffix(".yaml") for file in RECIPES.iterdir() if file.name.endswith(".yaml"))


def read(path: Path):
    return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def without_dvc(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Starting DVC takes seconds; the slow tests have it."""
    if "slow" not in request.keywords:
        monkeypatch.setattr(projects, "init_project", lambda root: None)  # noqa: ARG005


@pytest.mark.parametrize("recipe", NAMES)
def test_a_project_has_the_settings_of_its_recipe(recipe: str, tmp_path: Path):
    written = create_project(tmp_path / "new", Wanted(recipe=recipe))

    assert {path.name for path in written} == FILES
    text = (tmp_path / "new" / "params.yaml").read_text()
    assert len(text.splitlines()) <= 25
    settings = load_params(tmp_path / "new" / "params.yaml")
    assert settings == load_params(REPOSITORY / "omniopd" / "recipes" / f"{recipe}.yaml")
    raw = read(tmp_path / "new" / "params.yaml")  # as DVC reads it, which knows no recipes
    assert (raw["seeds"], list(raw["arms"])) == (settings.seeds, list(settings.arms))
    readme = (tmp_path / "new" / "README.md").read_text()
    assert f"{next(iter(settings.arms))}-{settings.seeds[0]}" in readme
    assert "{" not in readme


def test_what_the_command_names_overrides_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Paths of the working directory are written as the new folder sees them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sums.jsonl").write_text(json.dumps({"question": "1+1=", "solution": "2"}) + "\n")
    (tmp_path / "student").mkdir()
    wanted = Wanted("qwen3-1.7b-gsm8k-vllm", "student", "anthropic/claude-haiku-4-5", "sums.jsonl")

    create_project(Path("new"), wanted)

    raw = read(tmp_path / "new" / "params.yaml")
    assert raw["models"] == {"student": "../student"}
    assert raw["teacher"] == {"kind": "api", "model": "anthropic/claude-haiku-4-5"}
    assert raw["prompts"]["source"] == "../sums.jsonl"
    settings = load_params(tmp_path / "new" / "params.yaml")
    assert (settings.prompts.columns.prompt, settings.prompts.columns.answer) == ("question", "solution")
    assert (settings.prompts.subset, settings.prompts.decontaminate) == (None, None)
    prepare = read(tmp_path / "new" / "dvc.yaml")["stages"]["prepare"]
    assert prepare["deps"] == ["resolved/prepare.json", "../sums.jsonl"]


def test_a_local_teacher_and_a_hub_dataset_need_no_recipe(tmp_path: Path):
    create_project(tmp_path, Wanted(teacher="Qwen/Qwen3-32B", prompts="openai/gsm8k"))

    settings = load_params(tmp_path / "params.yaml")
    assert (settings.teacher.kind, settings.teacher.model) == ("transformers", "Qwen/Qwen3-32B")
    assert settings.prompts.source == "openai/gsm8k"
    assert list(settings.arms) == ["omniopd-fork"]
    assert read(tmp_path / "dvc.yaml")["stages"]["prepare"]["deps"] == ["resolved/prepare.json"]


@pytest.mark.parametrize("name", ["params.yaml", "dvc.yaml"])
def test_a_project_is_not_overwritten(name: str, tmp_path: Path):
    (tmp_path / name).write_text("mine")
    with pytest.raises(ConfigError, match=rf"{name}: exists"):
        create_project(tmp_path, Wanted(recipe="demo"))
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_files_that_a_repository_has_are_kept(tmp_path: Path):
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / ".gitignore").write_text("*.log\n/runs/")

    create_project(tmp_path, Wanted(recipe="demo"))

    assert (tmp_path / "README.md").read_text() == "mine"
    lines = (tmp_path / ".gitignore").read_text().splitlines()
    assert lines[:2] == ["*.log", "/runs/"]
    assert lines.count("/runs/") == 1
    assert "/.env" in lines


def test_a_mistake_leaves_no_folder(tmp_path: Path):
    with pytest.raises(ConfigError, match="'demmo' is not a packaged recipe; did you mean 'demo'"):
        create_project(tmp_path / "new", Wanted(recipe="demmo"))
    with pytest.raises(DataError, match=r"none\.jsonl"):
        create_project(tmp_path / "new", Wanted(prompts="none.jsonl"))
    assert not (tmp_path / "new").exists()


def test_the_pipeline_is_the_repositorys_without_sweeps_and_ablations(tmp_path: Path):
    create_project(tmp_path, Wanted(recipe="demo"))
    mine, ours = read(tmp_path / "dvc.yaml"), read(REPOSITORY / "dvc.yaml")

    assert list(mine["stages"]) == ["resolve", "prepare", "base", "distill", "evaluate", "compare"]
    del ours["stages"]["distill"]["params"]  # the rates of sweeps
    assert mine["stages"] == {name: ours["stages"][name] for name in mine["stages"]}
    assert all(plot in ours["plots"] for plot in mine["plots"])
    assert read(tmp_path / "prefect.yaml") == read(REPOSITORY / "prefect.yaml")


@pytest.mark.slow
@pytest.mark.parametrize("place", ["plain", "repository", "below"])
def test_dvc_runs_a_new_project(place: str, tmp_path: Path):
    """In a folder without git, at the top of a repository, and below it."""
    if place != "plain":
        subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    folder = tmp_path / "new" if place == "below" else tmp_path
    create_project(folder, Wanted(recipe="demo"))

    assert (folder / ".dvc").is_dir()
    for command in (["repro", "-q", "resolve"], ["status", "resolve"]):
        done = subprocess.run(["dvc", *command], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert "up to date" in done.stdout
