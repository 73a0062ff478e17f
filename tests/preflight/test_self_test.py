"""The self-test of check: it passes for sound models, and names what differs in one sentence each."""

import math
import random
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from projects import Project
from silent_faults import permuted
from transformers import AutoModelForCausalLM, PreTrainedModel

from omniopd.config import load_params
from omniopd.data.layout import Layout
from omniopd.errors import ModelError
from omniopd.models.loading import load_chat, load_model, load_tokenizer
from omniopd.models.scoring import score
from omniopd.models.text import TextDecoder
from omniopd.preflight import comparisons, self_test
from omniopd.preflight.self_test import self_tests

LORA = {"rank": 2, "alpha": 4, "targets": "all-linear"}


@pytest.fixture
def tested_project(local_project: Project) -> Project:
    """Arms that pack, and that train an adapter."""
    arms = {
        "packed": {"method": "omniopd", "train": {"lr": 2.0e-4, "packing": True}},
        "adapted": {"method": "omniopd", "train": {"lr": 2.0e-4, "lora": LORA}},
    }
    return local_project.edit(arms=arms)


def compared(project: Project) -> tuple[list[str], list[str]]:
    return self_tests(load_params(project.params_file), Layout(project.root))


def refusals(project: Project) -> list[str]:
    with pytest.raises(ModelError) as caught:
        compared(project)
    return str(caught.value).splitlines()


def test_sound_models_pass_and_say_so(tested_project: Project):
    lines, warnings = compared(tested_project)
    assert [line.split(" (")[0] for line in lines] == [
        f"self-test {place}: equals plain forward passes" for place in ("models.student", "teacher.model")
    ]
    assert warnings == []


def test_what_is_not_on_this_machine_or_too_large_is_left_out(
    tested_project: Project, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(self_test, "MAX_BYTES", 10)
    monkeypatch.setattr(self_test, "MAX_BYTES_ON_GPU", 10)
    lines, _ = compared(tested_project.edit(models__student="nobody/none"))
    assert "nobody/none is not on this machine yet" in lines[0]
    assert "check loads at most" in lines[1]


def test_without_a_text_that_the_tokenizer_writes_nothing_is_said_to_be_equal(
    tested_project: Project, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(self_test, "TEXTS", ("學",))
    lines, warnings = compared(tested_project)
    assert lines == []
    assert [line.split(": ")[0] for line in warnings] == ["models.student", "teacher.model"]


def test_ids_that_are_no_token_may_not_have_probability(tested_project: Project):
    folder = tested_project.root / "student"
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(64, mean_resizing=False)
    model.save_pretrained(folder)
    [line] = refusals(tested_project)
    assert line.startswith(f"models.student: {folder}: gives ")
    assert "46 ids that are no token" in line


def without(name: str) -> Callable[..., PreTrainedModel]:
    """Loads a model that does not see that argument of its forward pass."""

    def load(path: str, **options: Any) -> PreTrainedModel:
        model = load_model(path, **options)
        model.base_model.register_forward_pre_hook(
            lambda module, inputs, named: (inputs, named | {name: None}),  # noqa: ARG005
            with_kwargs=True,
        )
        return model

    return load


def shifted(*args: Any, **named: Any) -> list[tuple[list[float], list[float]]]:
    return [(entropies, [logp + 0.1 for logp in logps]) for entropies, logps in score(*args, **named)]


FAULTS = {
    "a cache that is not read": (self_test, "load_model", without("past_key_values"), "does not generate from a cache"),
    "positions that are not read": (self_test, "load_model", without("position_ids"), "set train.packing: false"),
    "scores that are wrong": (comparisons, "score", shifted, "scores of a batch and of plain forward passes differ by"),
    "an adapter that stays on": (comparisons, "adapter_off", lambda _: nullcontext(), "with the adapter off"),
}  # fmt: skip


@pytest.mark.parametrize(("module", "name", "fault", "message"), FAULTS.values(), ids=FAULTS)
def test_what_differs_is_named(
    tested_project: Project, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, fault: Any, message: str
):
    monkeypatch.setattr(module, name, fault)
    lines = refusals(tested_project)
    assert any(message in line for line in lines), lines
    assert all(line.startswith(("models.student: /", "teacher.model: /")) for line in lines)


@pytest.fixture
def fluent_project(tested_project: Project, models: Path) -> Project:
    for role in ("student", "teacher"):
        shutil.rmtree(tested_project.root / role)
        shutil.copytree(models / "fluent", tested_project.root / role)
    return tested_project


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_a_tokenizer_of_another_model_is_warned_of(fluent_project: Project, role: str):
    """The same characters, with each other's ids."""
    assert compared(fluent_project)[1] == []
    folder = fluent_project.root / role
    permuted(random.Random(0))(folder)

    _, [warning] = compared(fluent_project)

    place = {"student": "models.student", "teacher": "teacher.model"}[role]
    assert warning.startswith(f"{place}: {folder}: reads plain texts no better than by chance: its loss is ")
    num_tokens = len(load_tokenizer(str(folder)))
    assert f"among its {num_tokens} tokens {math.log(num_tokens):.1f}; unless it was never trained" in warning


def test_a_model_that_was_never_trained_is_warned_of(fluent_project: Project):
    folder = fluent_project.root / "student"
    model = AutoModelForCausalLM.from_pretrained(folder)
    type(model)(model.config).save_pretrained(folder)

    _, [warning] = compared(fluent_project)

    assert "no better than by chance" in warning


def test_a_model_of_a_narrow_task_is_not_judged_by_texts_of_others(tested_project: Project):
    """Its tokenizer writes two of them."""
    folder = tested_project.root / "student"
    assert len(self_test.usable_texts(load_chat(str(folder)))) == 2
    permuted(random.Random(0))(folder)

    assert compared(tested_project)[1] == []


def test_samples_of_other_probabilities_are_refused(tested_project: Project, monkeypatch: pytest.MonkeyPatch):
    """As where a plain forward pass has sharper distributions."""
    plain = torch.Tensor.log_softmax
    monkeypatch.setattr(torch.Tensor, "log_softmax", lambda self, dim: plain(self * 1.1, dim))
    assert any("log-probabilities of samples from its cache" in line for line in refusals(tested_project))


def test_a_tokenizer_that_does_not_read_replies_back_is_warned_of(
    tested_project: Project, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(TextDecoder, "read_after", lambda self, contexts, texts: [None for _ in texts])  # noqa: ARG005
    _, [warning] = compared(tested_project)
    assert "only 0 of " in warning
