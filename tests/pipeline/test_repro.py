"""One run by `dvc repro`, from its settings to its checkpoints."""

import json
from pathlib import Path

from dvc_projects import dvc, under_dvc
from projects import Project

STAGE = "distill@omniopd-0"


def test_a_run_is_made_with_what_it_needs_and_a_second_repro_does_nothing(project: Project, warm: Path):
    under_dvc(project.edit(train__num_rounds=1))

    printed = dvc(project, "repro", STAGE, commands=warm)
    assert [name for name in ("prepare@0", "base@0", STAGE) if f"Running stage '{name}'" in printed] == [
        "prepare@0",
        "base@0",
        STAGE,
    ]
    manifest = json.loads((project.run_dir() / "manifests" / "round-0000.json").read_text())
    for digest in manifest["files"].values():
        cached = project.root / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]
        assert cached.is_file(), "a manifest's digest is DVC's own object key"

    again = dvc(project, "repro", STAGE, commands=warm)
    assert "Running stage" not in again
    assert f"Stage '{STAGE}' didn't change, skipping" in again
