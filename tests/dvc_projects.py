"""Tiny projects under DVC."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from projects import REPOSITORY, Project, run_plain

from omniopd.config import load_params
from omniopd.data.layout import Layout
from omniopd.data.store import write_json

ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("DVC_")},
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "PYTHONPATH": str(REPOSITORY),
    "DVC_NO_ANALYTICS": "1",
}
STAGES = ("prepare@0", "base@0", "distill@omniopd-0")


def dvc(project: Project, *arguments: str, commands: Path | None = None) -> str:
    """What a command of DVC prints; `commands` is a folder of those that its stages run, see warm.py."""
    path = ENVIRONMENT["PATH"] if commands is None else f"{commands}{os.pathsep}{ENVIRONMENT['PATH']}"
    done = subprocess.run(
        ["dvc", *arguments],
        cwd=project.root,
        env={**ENVIRONMENT, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=580,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def under_dvc(project: Project) -> Project:
    """The project with the repository's pipeline, in git and in DVC."""
    for name in ("dvc.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(REPOSITORY / name, project.root / name)
    subprocess.run(["git", "init", "--quiet"], cwd=project.root, check=True)
    dvc(project, "init", "--quiet")
    write_json(Layout(project.root).learning_rates, dict.fromkeys(load_params(project.params_file).arms))
    return project


def run_without_dvc(project: Project) -> None:
    """A run as Prefect starts it: DVC knows nothing of it."""
    run_plain(project.params_file)
