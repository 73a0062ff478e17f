"""Training and generating on a GPU: what they are on the CPU."""

import copy

import pytest
import torch
from examples import annotated
from training.test_trainer import each_method, trainer_of
from transformers import PreTrainedModel

from omniopd.config import Lora
from omniopd.data.decoding import Decoding
from omniopd.methods import Method, OmniOPD
from omniopd.models.adapters import add_adapter
from omniopd.models.generation import generate
from omniopd.models.precision import compute_in
from omniopd.models.scoring import check_head, check_packing

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")

LORA = Lora(rank=2, alpha=4.0, targets="all-linear")


def on_gpu(model: PreTrainedModel) -> PreTrainedModel:
    return copy.deepcopy(model).to("cuda")  # pyright: ignore[reportArgumentType]


@each_method
@pytest.mark.parametrize("packing", [False, True], ids=["padded", "packed"])
def test_a_step_is_that_of_the_cpu(model, method: Method, packing: bool):
    rows = method.rows(annotated(method))
    trainer, other = (
        trainer_of(student, packing=packing, batch_size=3)
        for student in (copy.deepcopy(model), on_gpu(model))
    )
    expected, actual = trainer.step(rows, method), other.step(rows, method)
    assert actual["loss"] == pytest.approx(expected["loss"], rel=1e-4, abs=1e-5)
    assert actual["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-4)
    for a, b in zip(trainer.model.parameters(), other.model.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad.cpu(), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_bfloat16_over_float32_masters_is_near(model, lora: Lora | None):
    method = OmniOPD(num_chunks=2, num_replies=2, chunk_len=2)
    rows = method.rows(annotated(method))
    reports = []
    for precision in ("float32", "bfloat16"):
        student = on_gpu(model)
        if lora is not None:
            add_adapter(student, lora, seed=1)
        compute_in(student, precision)
        trainer = trainer_of(on_gpu(model), student=student, gradient_checkpointing=True)
        reports.append(trainer.step(rows, method))
        assert all(parameter.dtype == torch.float32 for parameter in trainer.model.parameters())
    assert reports[1]["loss"] == pytest.approx(reports[0]["loss"], rel=0.05)
    assert reports[1]["grad_norm"] == pytest.approx(reports[0]["grad_norm"], rel=0.05)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_packed_sequences_and_heads_are_told_apart_there(model, precision):
    student = on_gpu(model)
    compute_in(student, precision)
    check_head(student)
    check_packing(student)


def test_it_writes_what_the_cpu_writes(model):
    prompts, seeds = [[1, 10, 2, 11], [3, 4], [1, 10]], [[0, 1], [2, 3], [4, 5]]
    for temperature in (0.0, 1.0):
        expected, actual = (
            generate(
                each, prompts, seeds=seeds, max_new_tokens=9, decoding=Decoding(temperature), stop_ids=[16]
            )
            for each in (model, on_gpu(model))
        )
        assert actual == expected
