"""The kernels against the naive forms: on a GPU where there is one, else in Triton's interpreter."""

from dataclasses import replace

import pytest
import torch
from functional.test_fused import WANTED, N, V, loss_of, naive, normal, positions_of, trained
from torch import Tensor

from omniopd.functional import Head, Positions, Score, States, Votes, fused_loss, kernels, token_scores
from omniopd.functional.sheets import Sheets

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# The interpreter computes beyond the end of a row too, what is then masked.
pytestmark = pytest.mark.filterwarnings("ignore:(invalid value|overflow) encountered")
COLUMNS = 8  # so that a row takes more than one block of them


@pytest.fixture(autouse=True)
def on_kernels(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kernels, "COLUMNS", COLUMNS)
    monkeypatch.setattr("omniopd.functional.fused._sheets", kernels.KernelSheets)


def there(positions: Positions) -> Positions:
    """On the device, as leaves."""

    def moved(tensor: Tensor | None):
        return None if tensor is None else tensor.detach().to(DEVICE).requires_grad_(tensor.requires_grad)

    def states(own: States | None):
        if own is None:
            return None
        return States(
            moved(own.hidden), replace(own.head, weight=moved(own.head.weight), bias=moved(own.head.bias))
        )

    votes = positions.votes
    return Positions(
        states(positions.student), positions.token_ids.to(DEVICE),
        states(positions.reference), states(positions.teacher),
        votes and Votes(votes.ids.to(DEVICE), votes.counts.to(DEVICE), votes.alpha),
    )  # fmt: skip


@pytest.mark.parametrize("head", [{}, {"softcap": 2.0, "scale": 0.7, "bias": True}], ids=["plain", "capped"])
@pytest.mark.parametrize("wanted", WANTED, ids=lambda wanted: "-".join(sorted(wanted)))
def test_scores_loss_and_gradient_are_the_naive_ones(wanted: frozenset[Score], head: dict):
    positions = there(positions_of(**head))
    weights: dict[Score, Tensor] = {
        name: normal(N, seed=20 + i).to(DEVICE) for i, name in enumerate(sorted(WANTED[-1]))
    }
    weights["logp"][2] = 0.0
    loss = loss_of(weights)
    known = naive(positions)
    expected = sum(loss({name: known[name] for name in wanted}, slice(0, N)).values()) / 3
    gradients = torch.autograd.grad(2 * expected, trained(positions), allow_unused=True)

    found = fused_loss(positions, wanted, loss, divisor=3.0, slice_len=4)
    (2 * found.loss).backward()

    assert found.loss.item() == pytest.approx(expected.item(), rel=1e-12)
    scores = token_scores(positions, wanted, slice_len=4)
    for name in wanted:
        for own in (found.scores, scores):
            assert torch.allclose(own[name], known[name], rtol=0, atol=1e-12), name
    for parameter, gradient in zip(trained(positions), gradients, strict=True):
        assert torch.allclose(parameter.grad, gradient, rtol=0, atol=1e-11)


def test_they_are_finite_where_probabilities_are_not_to_be_told_from_0():
    hidden = torch.tensor([[200.0, 0.0], [0.0, 0.0]], device=DEVICE, requires_grad=True)
    weight = torch.eye(3, 2, device=DEVICE)
    positions = Positions(
        States(hidden, Head(weight)),
        torch.tensor([1, 1], device=DEVICE),
        reference=States(torch.tensor([[0.0, 200.0], [0.0, 0.0]], device=DEVICE), Head(weight)),
        votes=Votes(torch.tensor([[1], [1]], device=DEVICE), torch.tensor([1, 1], device=DEVICE), 1.0),
    )
    wanted: set[Score] = {"logp", "ref_kl", "kl_to_ref", "posterior_kl", "entropy"}
    found = fused_loss(positions, wanted, lambda s, _: {name: value.sum() for name, value in s.items()})
    found.loss.backward()
    assert found.scores["logp"].tolist() == pytest.approx([-200.0, -1.0986122])
    assert found.scores["ref_kl"].tolist() == pytest.approx([200.0, 0.0], abs=1e-6)
    assert found.scores["kl_to_ref"].tolist() == pytest.approx([200.0, 0.0], abs=1e-6)
    assert all(value.isfinite().all() for value in found.scores.values())
    assert hidden.grad.isfinite().all()


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
        own, head = (tensor.clone().to(DEVICE, dtype).requires_grad_() for tensor in (hidden, weight))
        beside = States((own.detach() + other.to(DEVICE, dtype)), Head(head.detach()))
        positions = Positions(States(own, Head(head)), ids, reference=beside, teacher=beside)
        monkeypatch.setattr("omniopd.functional.fused._sheets", kind)
        fused_loss(
            positions, wanted, lambda s, _: {name: value.sum() for name, value in s.items()}, slice_len=16
        ).loss.backward()
        return [own.grad.double(), head.grad.double()]

    exact = gradients(Sheets, torch.float64)
    for found, plain, right in zip(
        gradients(kernels.KernelSheets, torch.bfloat16), gradients(Sheets, torch.bfloat16), exact, strict=True
    ):
        assert 0 < (found - right).norm() < 1.5 * (plain - right).norm()


def test_what_a_student_has_beyond_the_others_vocabulary_takes_no_gradient():
    positions = there(positions_of())
    wider = torch.cat(
        [positions.student.head.weight.detach(), normal(3, 5, seed=8).to(DEVICE)]
    ).requires_grad_()
    wide = replace(positions, student=States(positions.student.hidden.detach(), Head(wider)), teacher=None)
    for own in (positions, wide):
        fused_loss(
            own, {"ref_kl", "logp"}, lambda s, _: {"kl": (s["ref_kl"] - s["logp"]).sum()}
        ).loss.backward()
    assert torch.allclose(wider.grad[:V], positions.student.head.weight.grad, atol=1e-12)
    assert wider.grad[V:].abs().max() == 0
