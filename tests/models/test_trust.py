"""A model that comes with code of its own: refused, or said loudly and run."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from projects import Project, run_plain
from transformers import Qwen3Config, Qwen3ForCausalLM, dynamic_module_utils

from omniopd.data.layout import Layout
from omniopd.errors import ModelError
from omniopd.models.loading import load_model
from omniopd.models.trust import allow_code
from omniopd.preflight.check import check
from omniopd.rounds import run as runs
from omniopd.training.pretrain import character_tokenizer

CODE = """
from pathlib import Path

from transformers import Qwen3Config, Qwen3ForCausalLM

Path({witness!r}).touch()


class OwnConfig(Qwen3Config):
    model_type = "own_model"


class OwnModel(Qwen3ForCausalLM):
    config_class = OwnConfig
"""


@pytest.fixture
def witness(tmp_path: Path) -> Path:
    """A file that the model's code makes when it is run."""
    return tmp_path / "the code was run"


@pytest.fixture
def with_code(
    project: Project, witness: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Project]:
    """A project whose student is called by a class that lies beside its weights."""
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = project.root / "own"
    tokenizer = character_tokenizer("0123456789+=;>")
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, head_dim=8, eos_token_id=tokenizer.eos_token_id, max_position_embeddings=128,
    )  # fmt: skip
    torch.manual_seed(0)
    Qwen3ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "own.py").write_text(CODE.format(witness=str(witness)))
    settings = json.loads((folder / "config.json").read_text())
    settings |= {
        "model_type": "own_model",
        "architectures": ["OwnModel"],
        "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"},
    }
    (folder / "config.json").write_text(json.dumps(settings))
    yield project.edit(models__student="./own", train__num_rounds=2, train__checkpoint_every=1)
    allow_code(False)


def test_code_that_comes_with_a_model_is_not_run_unless_params_say_so(with_code: Project, witness: Path):
    with pytest.raises(ModelError, match="needs Python code that comes with it, and none is run"):
        check(with_code.params_file)
    assert not witness.exists()


@pytest.mark.slow
def test_allowed_code_is_warned_of_and_the_run_continues_from_its_checkpoints(
    with_code: Project, witness: Path, monkeypatch: pytest.MonkeyPatch
):
    with_code.edit(models__trust_remote_code=True)
    _, warnings, _ = check(with_code.params_file)
    assert any("Python code that comes with ./own is RUN" in line for line in warnings)
    assert witness.exists()

    last = run_plain(with_code.params_file)
    monkeypatch.setattr(runs, "_open_runs", {})
    again = runs.open_run(Layout(with_code.root).run("omniopd", 0).root).models.load_student(str(last))
    assert type(again).__name__ == "OwnModel"


def test_what_is_allowed_in_one_project_is_not_in_the_next(with_code: Project, base_project: Project):
    with_code.edit(models__trust_remote_code=True)
    check(with_code.params_file)
    check(base_project.params_file)
    with pytest.raises(ModelError, match="none is run"):
        load_model(str(with_code.root / "own"))
