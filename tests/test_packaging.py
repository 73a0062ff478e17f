"""The package: its version, the ranges of its dependencies against the lock, and the contents of its wheel."""

import subprocess
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from projects import REPOSITORY

import omniopd

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
PACKAGES = ("omniopd", "flows")


def locked() -> Iterator[tuple[str, str]]:
    """(name, version) of each package in requirements.lock."""
    for line in (REPOSITORY / "requirements.lock").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, version = line.split()[0].split("==")
            yield canonicalize_name(name), version


LOCKED = dict(locked())


def test_the_version_is_that_of_the_project():
    assert omniopd.__version__ == PROJECT["version"]


@pytest.mark.parametrize("line", [*PROJECT["dependencies"], *EXTRAS["dev"]])
def test_the_lock_satisfies_the_range(line: str):
    requirement = Requirement(line)

    assert requirement.specifier.contains(LOCKED[canonicalize_name(requirement.name)])


@pytest.mark.parametrize("extra", sorted(EXTRAS.keys() - {"dev"}))
def test_the_lock_satisfies_the_ranges_of_an_extra(extra: str):
    """As far as it has the packages: vllm needs a GPU, and gguf is installed for one conversion."""
    for requirement in map(Requirement, EXTRAS[extra]):
        version = LOCKED.get(canonicalize_name(requirement.name))
        assert version is None or requirement.specifier.contains(version)


def test_no_dependency_of_the_package_is_pinned():
    """An exact version would keep the package from being installed next to others; the lock has those."""
    extras = [line for name, lines in EXTRAS.items() if name != "dev" for line in lines]
    requirements = map(Requirement, [*PROJECT["dependencies"], *extras])

    assert [str(each) for each in requirements if "==" in str(each.specifier)] == []


def test_the_wheel_has_every_file_of_the_package_and_nothing_else(tmp_path: Path):
    wheel = next(WheelBuilder(str(REPOSITORY)).build(directory=str(tmp_path), versions=["standard"]))

    names = zipfile.ZipFile(wheel).namelist()

    files = {name for name in names if ".dist-info/" not in name}
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *PACKAGES]
    tracked = subprocess.run(listed, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert files == set(tracked.split())
    assert {f"{package}/py.typed" for package in PACKAGES} <= files
    for folder in (
        "recipes",
        "templates",
        "suite",
        "report/page/assets",
        "report/page/templates",
        "report/page/vendor",
    ):
        assert any(name.startswith(f"omniopd/{folder}/") for name in files)
    assert any(name.endswith("/licenses/LICENSE") for name in names)
