"""The pipeline of dvc.yaml, from an empty folder to a comparison, by `dvc repro` as a user runs it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from projects import REPOSITORY, Project, make_project

ENVIRONMENT = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "PYTHONPATH": str(REPOSITORY),
    "DVC_NO_ANALYTICS": "1",
}


def _dvc(project: Project, *arguments: str) -> str:
    done = subprocess.run(
        ["dvc", *arguments],
        cwd=project.root,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A tiny project of two arms, reproduced once from nothing."""
    project = make_project(tmp_path_factory.mktemp("dvc") / "project")
    project.edit(train__num_rounds=2, tracking__enabled=True)
    for name in ("dvc.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(REPOSITORY / name, project.root / name)
    subprocess.run(["git", "init", "--quiet"], cwd=project.root, check=True)
    _dvc(project, "init", "--quiet")
    shutil.copytree(REPOSITORY / ".dvc" / "plots", project.root / ".dvc" / "plots")
    _dvc(project, "repro")
    return project


def test_the_pipeline_ends_with_a_record_per_arm_and_seed(reproduced: Project):
    records = json.loads((reproduced.root / "metrics" / "comparison.json").read_text())
    assert [(record["arm"], record["seed"]) for record in records] == [
        ("omniopd", 0),
        ("omniopd-baseline", 0),
    ]
    for record in records:
        for when in ("before", "after"):
            for how in ("greedy", "sampled"):
                measured = record[when][how]
                assert measured["num_prompts"] == 12
                low, high = measured["interval"]
                assert 0 <= low <= measured["accuracy"] <= high <= 1
        assert record["student_tokens"] > 0
        assert record["teacher_tokens"] > 0
        assert set(record["seconds"]) == {"validate", "roll out", "schedule", "verify", "train"}


def test_nothing_is_done_a_second_time(reproduced: Project):
    assert "Data and pipelines are up to date" in _dvc(reproduced, "repro")
    assert "Data and pipelines are up to date" in _dvc(reproduced, "status")


def test_the_settings_of_one_arm_rerun_that_arm_alone(reproduced: Project):
    before = reproduced.params_file.read_text()
    try:
        reproduced.edit_paths({"arms.omniopd.train.lr": 3e-4})
        plan = _dvc(reproduced, "repro", "--dry")
        assert "Running stage 'distill@omniopd-0'" in plan
        assert "Running stage 'distill@omniopd-baseline-0'" not in plan
        assert "Running stage 'base" not in plan
    finally:
        reproduced.params_file.write_text(before)


def test_metrics_and_plots_are_shown(reproduced: Project):
    shown = json.loads(_dvc(reproduced, "metrics", "show", "--json"))[""]["data"]
    for record in json.loads((reproduced.root / "metrics" / "comparison.json").read_text()):
        found = shown[f"metrics/heldout/{record['arm']}-{record['seed']}.json"]["data"]
        assert found["greedy"]["after"] == record["after"]["greedy"]["accuracy"]
        assert found["sampled"]["before"] == record["before"]["sampled"]["accuracy"]
        assert found["teacher_tokens"] == record["teacher_tokens"]
    _dvc(reproduced, "plots", "show", "--out", "shown")
    page = (reproduced.root / "shown" / "index.html").read_text()
    assert "Greedy accuracy on validation prompts" in page
    assert "omniopd-baseline-0" in page


def test_what_dvc_versions_is_what_the_manifests_name(reproduced: Project):
    lock = (reproduced.root / "dvc.lock").read_text()
    for stage in ("trajectories", "verdicts", "manifests", "checkpoints"):
        assert f"runs/omniopd-0/{stage}" in lock
    manifest = json.loads((reproduced.run_dir() / "manifests" / "round-0001.json").read_text())
    for digest in manifest["files"].values():
        cached = reproduced.root / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]
        assert cached.is_file(), "a manifest's digest is DVC's own object key"


def test_the_tables_are_whole_in_a_terminal_of_80_columns(reproduced: Project):
    done = subprocess.run(
        [sys.executable, "-c", "from omniopd.cli import main; main()", "table"],
        cwd=reproduced.root,
        env={**ENVIRONMENT, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Accuracy on 12 held-out prompts" in done.stdout
    assert "omniopd-baseline" in done.stdout
    assert "Where the time went: prepare" in done.stdout
    assert "…" not in done.stdout
    for record in json.loads((reproduced.root / "metrics" / "comparison.json").read_text()):
        for how in ("greedy", "sampled"):
            assert f"{record['after'][how]['accuracy']:.3f}" in done.stdout
        assert str(record["teacher_tokens"]) in done.stdout, "below a thousand it is written out"
