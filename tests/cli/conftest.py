"""A project that commands run in."""

from pathlib import Path

import pytest
from projects import Project, make_project


@pytest.fixture
def bare_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A tiny project without prompts or models; the commands run in its folder."""
    project = make_project(tmp_path)
    monkeypatch.chdir(project.root)
    return project.edit(arms={name: {"method": "omniopd"} for name in ("omniopd", "omniopd-baseline")})
