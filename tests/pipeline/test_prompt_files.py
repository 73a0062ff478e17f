"""prepare under DVC with a file of prompts: it runs anew when the file changes, where dvc.yaml names it."""

import json

import pytest
from dvc_projects import dvc, under_dvc
from examples import tiny_model
from projects import REPOSITORY, Project, make_project

from omniopd.training.pretrain import character_tokenizer, save_model

COMMENTED = "      # - my-prompts.jsonl\n"
ROWS = [{"prompt": f"{i}+1=", "answer": str(i + 1)} for i in range(40)]


@pytest.fixture
def project(tmp_path) -> Project:
    """A project whose prompts are in my-prompts.jsonl, under DVC, with the dependency that dvc.yaml suggests."""
    project = make_project(tmp_path / "project")
    tokenizer = character_tokenizer("0123456789+=;>")
    save_model(project.root / "student", tiny_model(tokenizer), tokenizer)
    project.edit(models__student="student", teacher__model="student", prompts__source="my-prompts.jsonl")
    project.edit(prompts__num_train=20, prompts__num_validation=4, prompts__num_heldout=6)
    write(project, ROWS)
    under_dvc(project)
    pipeline = (REPOSITORY / "dvc.yaml").read_text()
    assert COMMENTED in pipeline
    (project.root / "dvc.yaml").write_text(pipeline.replace(COMMENTED, COMMENTED.replace("# ", "")))
    return project


def write(project: Project, rows: list[dict[str, str]]) -> None:
    (project.root / "my-prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.slow
def test_a_changed_file_of_prompts_makes_them_anew(project: Project):
    dvc(project, "repro", "prepare@0")
    assert "up to date" in dvc(project, "status", "prepare@0")
    write(project, [*ROWS, {"prompt": "50+1=", "answer": "51"}])

    assert "Running stage 'prepare@0'" in dvc(project, "repro", "prepare@0")
    report = json.loads((project.root / "data" / "seed-0" / "prepare-report.json").read_text())
    assert report["rows"] == 41
