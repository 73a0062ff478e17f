"""Projects with prompts and models on disk, for the tests of check."""

import shutil
from pathlib import Path

import pytest
from checked import ALPHABET, ARMS, ROWS, save_fluent_model, save_tiny_model, write_rows
from projects import Project, make_project


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`characters` and `words`: models of 18 and of more than 1,000 tokens, and `fluent`. Not to be written to."""
    folder = tmp_path_factory.mktemp("models")
    save_tiny_model(folder / "characters")
    save_tiny_model(folder / "words", ALPHABET + "".join(map(chr, range(0x4E00, 0x4E00 + 1000))))
    save_fluent_model(folder / "fluent")
    return folder


@pytest.fixture
def local_project(tmp_path: Path, models: Path) -> Project:
    """A project with a file of prompts, and copies of the models in ./student and ./teacher."""
    project = make_project(tmp_path)
    for role in ("student", "teacher"):
        shutil.copytree(models / "characters", tmp_path / role)
    write_rows(tmp_path / "prompts.jsonl", ROWS)
    return project.edit(
        arms=ARMS,
        prompts__source="prompts.jsonl",
        prompts__num_train=20,
        prompts__num_validation=4,
        prompts__num_heldout=6,
        models__student=str(tmp_path / "student"),
        teacher__model=str(tmp_path / "teacher"),
    )
