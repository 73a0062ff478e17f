"""Projects that `check` refuses or warns of, shared by the tests of check."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from projects import Project

from omniopd.config import DemoModel
from omniopd.errors import OmniOPDError
from omniopd.preflight.check import check
from omniopd.preflight.self_test import TEXTS
from omniopd.training.pretrain import character_tokenizer, save_model, train_demo_model

ALPHABET = "0123456789+=;>"
CONTEXT = 128  # of every model below
ARMS = {
    "omniopd": {"method": "omniopd", "train": {"lr": 2.0e-4}},
    "omniopd-baseline": {"method": "omniopd", "train": {"lr": 5.0e-4}, "settings": {"num_replies": 3}},
}
ROWS = [{"id": f"sum-{i:02d}", "prompt": f"{i}+1=", "answer": str(i + 1)} for i in range(30)]


def save_tiny_model(path: Path, alphabet: str = ALPHABET) -> None:
    """A model that knows nothing."""
    _save(path, alphabet, [("1+1=", "2")], num_steps=1, lr=1e-3)


def save_fluent_model(path: Path) -> None:
    """A model that has read the texts of the self-test, and some other characters."""
    alphabet = "".join(sorted(set("".join(TEXTS)) | set("0123456789+=;<|>_")))
    _save(path, alphabet, [(TEXTS[0], text) for text in TEXTS], num_steps=150, lr=0.02)


def _save(
    path: Path, alphabet: str, examples: Sequence[tuple[str, str]], *, num_steps: int, lr: float
) -> None:
    tokenizer, count = character_tokenizer(alphabet), len(examples)
    settings = DemoModel(
        width=16,
        ffn_width=16,
        num_layers=1,
        num_heads=2,
        num_steps=num_steps,
        batch_size=count,
        num_examples=count,
        lr=lr,
    )
    model = train_demo_model(examples, tokenizer, settings, seed=0, on_step=lambda _: None)
    save_model(path, model, tokenizer)


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def listing(folder: Path) -> dict[str, bytes | None]:
    """Every path below the folder, with the bytes of the files."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def refusal(project: Project, kind: type[OmniOPDError]) -> list[str]:
    """The lines of the error, with paths relative to the project; asserts that nothing was written."""
    before = listing(project.root)
    with pytest.raises(kind) as caught:
        check(project.params_file)
    assert listing(project.root) == before
    return str(caught.value).replace(f"{project.root}/", "").splitlines()


def warnings_of(project: Project) -> list[str]:
    """The warnings, but for that of the chat template that none of the models here has."""
    _, warnings, _ = check(project.params_file)
    return [line for line in warnings if "has no chat template" not in line]


def remove(*names: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return damage


def content(name: str, text: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).write_text(text)

    return damage


def template(text: str) -> Callable[[Path], None]:
    return content("chat_template.jinja", text)


def generation(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: (folder / "generation_config.json").write_text(json.dumps(changes)) and None
