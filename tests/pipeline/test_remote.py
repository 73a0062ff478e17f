"""A remote of DVC: what was pushed there makes a project whole again."""

import shutil
from pathlib import Path

import pytest
from dvc_projects import STAGES, dvc, run_without_dvc, under_dvc
from projects import Project, digests

pytestmark = pytest.mark.slow


def test_what_was_pushed_is_pulled_back_to_the_byte_and_nothing_is_run_again(
    project: Project, tmp_path: Path
):
    under_dvc(project)
    run_without_dvc(project)  # it records in DVC what it made
    expected = digests(project.run_dir())
    dvc(project, "remote", "add", "--default", "storage", str(tmp_path / "storage"))
    dvc(project, "push", *STAGES)
    shutil.rmtree(project.root / ".dvc" / "cache")
    for folder in ("data", "models", "runs"):
        shutil.rmtree(project.root / folder)

    dvc(project, "pull", *STAGES)

    assert digests(project.run_dir()) == expected
    assert "up to date" in dvc(project, "status", *STAGES)
    for stage in STAGES:
        assert f"Stage '{stage}' didn't change, skipping" in dvc(project, "repro", "--single-item", stage)
