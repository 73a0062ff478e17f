"""Files for GitHub, pre-commit and Docker: they follow the project's versions, commands and packages."""

import importlib.metadata
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from projects import REPOSITORY
from ruamel.yaml import YAML

PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")
DOCKERFILES = sorted((REPOSITORY / "docker").glob("Dockerfile.*"))
TOOLS = {"ruff": "ruff", "pyright": "pyright", "lint-imports": "import-linter"}  # command: package


def read(path: str) -> Any:
    return YAML(typ="safe", pure=True).load(REPOSITORY / path)


def locked(package: str) -> str:
    """The version of a package in requirements.lock."""
    [version] = re.findall(rf"^{package}==(\S+)", LOCK, re.M)
    return version


def test_the_citation_has_the_version_and_licence_of_the_project():
    citation = read("CITATION.cff")

    assert citation["version"] == PYPROJECT["project"]["version"]
    assert citation["license"] == PYPROJECT["project"]["license"]
    assert [entry["url"] for entry in citation["references"]] == [PYPROJECT["project"]["urls"]["Paper"]]


def test_pre_commit_runs_the_tools_of_make_check_in_the_versions_of_the_lock():
    [repository] = read(".pre-commit-config.yaml")["repos"]
    entries = [hook["entry"] for hook in repository["hooks"]]
    check = (REPOSITORY / "Makefile").read_text(encoding="utf-8").split("\ncheck:")[1].split("\n\n")[0]

    assert repository["repo"] == "local"
    assert all(
        re.match(r"\.venv/bin/(ruff (check|format)|pyright|lint-imports)\b", entry) for entry in entries
    )
    assert {Path(entry.split()[0]).name for entry in entries} == TOOLS.keys()
    for command, package in TOOLS.items():
        assert f"@{command}" in check
        assert importlib.metadata.version(package) == locked(package)


def test_the_workflow_runs_the_script_of_ci_alone_on_the_python_of_the_lock():
    [job] = read(".github/workflows/ci.yml")["jobs"].values()
    [python] = [step["with"] for step in job["steps"] if "setup-python" in step.get("uses", "")]

    assert [step["run"] for step in job["steps"] if "run" in step] == ["bash .ci/run"]
    assert python["python-version"] == PYPROJECT["tool"]["pyright"]["pythonVersion"]
    assert python["cache"] == "pip"


@pytest.mark.parametrize("name", ["bug", "feature"])
def test_issue_forms_ask_for_named_fields(name: str):
    form = read(f".github/ISSUE_TEMPLATE/{name}.yml")
    fields = [field for field in form["body"] if field["type"] != "markdown"]

    assert form["name"]
    assert form["description"]
    assert len({field["id"] for field in fields}) == len(fields) > 0
    assert any(field.get("validations", {}).get("required") for field in fields)


def test_the_context_of_the_images_holds_the_files_that_the_wheel_is_built_from():
    kept = re.findall(r"^!(.+)$", (REPOSITORY / ".dockerignore").read_text(encoding="utf-8"), re.M)
    project = PYPROJECT["project"]
    packages = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]

    assert set(kept) == {
        *packages, *project["license-files"], project["readme"], "pyproject.toml", "requirements.lock",
    }  # fmt: skip
    assert all((REPOSITORY / name).exists() for name in kept)


@pytest.mark.parametrize("path", DOCKERFILES, ids=[path.suffix[1:] for path in DOCKERFILES])
def test_images_install_the_lock_on_its_python_and_run_as_a_user_without_rights(path: Path):
    text = path.read_text(encoding="utf-8")

    assert PYPROJECT["tool"]["pyright"]["pythonVersion"] in text
    assert re.search(r"requirements\.lock", text)
    assert re.search(r"pip install --constraint \S+", text)
    assert int(re.findall(r"^USER (\d+)$", text, re.M)[-1]) > 0
    assert ("[vllm]" in text) == (path.suffix == ".cuda")
    assert ("whl/cpu" in text) == (path.suffix == ".cpu")
