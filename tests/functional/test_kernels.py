"""The kernels against the naive forms: on a GPU where there is one, else in Triton's interpreter."""

from dataclasses import replace

import pytest
import torch
from loss_checks import WANTED, check_beyond, check_naive, check_sure, normal, positions_of
from quick import quick
from torch import Tensor

from omniopd.functional import Head, Positions, Score, States, Votes, fused_loss, kernels
from omniopd.functional.sheets import Sheets

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# The interpreter computes beyond the end of a row too, what is then masked.
pytestmark = pytest.mark.filterwarnings("ignore:(invalid value|overflow) encountered")


@pytest.fixture(autouse=True, params=[8, 32], ids=["blocks", "lanes"])
def on_kernels(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest):
    """A row takes more than one block of so many columns, or one of several lanes, some of which have nothing."""
    monkeypatch.setattr(kernels, "COLUMNS", request.param)
    monkeypatch.setattr("omniopd.functional.fused._sheets", kernels.KernelSheets)


def there(positions: Positions) -> Positions:
    """On the device, as leaves."""

    def moved(tensor: Tensor | None):
        return None if tensor is None else tensor.detach().to(DEVICE).requires_grad_(tensor.requires_grad)

    def states(model: States | None):
        if model is None:
            return None
        return States(
            moved(model.hidden),
            replace(model.head, weight=moved(model.head.weight), bias=moved(model.head.bias)),
        )

    votes = positions.votes
    return Positions(
        states(positions.student), positions.token_ids.to(DEVICE),
        states(positions.reference), states(positions.teacher),
        votes and Votes(votes.ids.to(DEVICE), votes.counts.to(DEVICE), votes.alpha),
    )  # fmt: skip


HEADS = {"plain": {}, "capped": {"softcap": 2.0, "scale": 0.7, "bias": True}}


@pytest.mark.parametrize("head", quick(HEADS, keep=["capped"]))
@pytest.mark.parametrize("wanted", WANTED, ids=lambda wanted: "-".join(sorted(wanted)))
def test_scores_loss_and_gradient_are_the_naive_ones(wanted: frozenset[Score], head: dict):
    check_naive(there(positions_of(**head)), wanted, slice_len=4)


def test_they_are_finite_where_probabilities_round_to_0():
    check_sure(DEVICE)


@pytest.mark.parametrize("wanted", [frozenset({"ref_kl", "logp"}), frozenset({"kl_to_teacher"})])
def test_bfloat16_is_as_near_as_on_a_cpu(wanted: frozenset[Score], monkeypatch: pytest.MonkeyPatch):
    """Of what bfloat16 loses: logits and gradients are rounded to it, everything between is not."""
    monkeypatch.setattr(kernels, "COLUMNS", 128)
    hidden, weight, other = (
        normal(20, 64, seed=1),
        normal(200, 64, seed=2) * 0.3,
        normal(20, 64, seed=3) * 0.1,
    )
    ids = torch.arange(20, device=DEVICE)

    def gradients(kind: type[Sheets], dtype: torch.dtype) -> list[Tensor]:
        student, head = (tensor.clone().to(DEVICE, dtype).requires_grad_() for tensor in (hidden, weight))
        others = States((student.detach() + other.to(DEVICE, dtype)), Head(head.detach()))
        positions = Positions(States(student, Head(head)), ids, reference=others, teacher=others)
        monkeypatch.setattr("omniopd.functional.fused._sheets", kind)
        fused_loss(
            positions, wanted, lambda s, _: {name: value.sum() for name, value in s.items()}, slice_len=16
        ).loss.backward()
        return [student.grad.double(), head.grad.double()]

    exact = gradients(Sheets, torch.float64)
    for kernel, plain, right in zip(
        gradients(kernels.KernelSheets, torch.bfloat16), gradients(Sheets, torch.bfloat16), exact, strict=True
    ):
        assert 0 < (kernel - right).norm() < 1.5 * (plain - right).norm()


def test_what_a_student_has_beyond_the_others_vocabulary_takes_no_gradient():
    check_beyond(there(positions_of()), slice_len=None)
