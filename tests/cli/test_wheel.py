"""The wheel alone: a project is started, planned and distilled from an empty folder, without the repository."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from projects import REPOSITORY, TINY, Project

PIP = ("-m", "pip", "--disable-pip-version-check", "--quiet")


@pytest.fixture
def omniopd(tmp_path: Path):
    """A function that runs the command of the wheel in a folder, in an environment that has its dependencies only."""
    wheels, environment = tmp_path / "wheels", tmp_path / "environment"
    _run(
        sys.executable, *PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, REPOSITORY
    )
    venv.create(environment, with_pip=False)
    [packages] = environment.glob("lib/python3*/site-packages")
    (packages / "dependencies.pth").write_text(
        sysconfig.get_path("purelib")
    )  # whose own .pth files are not read
    python = environment / "bin" / "python"
    [wheel] = wheels.iterdir()
    _run(
        sys.executable,
        *PIP,
        "--python",
        python,
        "install",
        "--no-deps",
        "--no-index",
        "--force-reinstall",
        wheel,
    )
    return lambda folder, *arguments: _run(environment / "bin" / "omniopd", *arguments, cwd=folder)


def _run(*command: object, cwd: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_from_an_empty_folder_to_a_distilled_student(omniopd, tmp_path: Path):
    where = _run(
        tmp_path / "environment" / "bin" / "python",
        "-c",
        "import omniopd; print(omniopd.__file__)",
        cwd=tmp_path,
    )
    assert where.startswith(str(tmp_path / "environment"))

    assert "omniopd plan" in omniopd(tmp_path, "init", "mine")
    root = tmp_path / "mine"
    tiny = {name: value for name, value in TINY.items() if name not in ("arms", "ablations", "seeds")}
    Project(root).edit_paths(tiny)
    plan = omniopd(root, "plan")
    assert "omniopd-fork" in plan
    assert "5/5" in omniopd(root, "distill")
    assert "→" in omniopd(root, "evaluate")
    assert (root / "reports" / "omniopd-fork-0.html").is_file()
    assert (root / "runs" / "omniopd-fork-0" / "checkpoints").is_dir()
