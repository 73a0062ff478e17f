"""Scores and losses from hidden states: equal to the naive forms in float64 however positions are sliced."""

from dataclasses import replace

import pytest
import torch
from examples import naive_scores
from torch import Tensor

from omniopd import functional as F
from omniopd.functional import Head, Positions, Score, States, Votes, fused_loss, token_scores

N, H, V, K, ALPHA = 7, 5, 11, 3, 1.3
EVERY: frozenset[Score] = frozenset(
    {"logp", "entropy", "ref_kl", "kl_to_ref", "kl_to_teacher", "teacher_logp", "posterior_kl"}
)
WANTED: list[frozenset[Score]] = [
    frozenset({"logp"}),
    frozenset({"logp", "ref_kl"}),
    frozenset({"ref_kl"}),
    frozenset({"ref_kl", "posterior_kl"}),
    frozenset({"kl_to_teacher"}),
    frozenset({"logp", "teacher_logp"}),
    frozenset({"logp", "kl_to_ref"}),
    frozenset({"entropy", "logp"}),
    EVERY,
]


def names(wanted: frozenset[Score]) -> str:
    """The same in every process, whatever order a set has there."""
    return "-".join(sorted(wanted))


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def positions_of(*, softcap: float | None = None, scale: float = 1.0, bias: bool = False) -> Positions:
    """N positions of a student that is to be trained, beside models of other widths and longer vocabularies."""
    generator = torch.Generator().manual_seed(9)
    head = Head(
        normal(V, H, seed=1).requires_grad_(),
        normal(V, seed=2).requires_grad_() if bias else None,
        scale,
        softcap,
    )
    return Positions(
        States(normal(N, H, seed=3).requires_grad_(), head),
        torch.randint(V, (N,), generator=generator),
        reference=States(normal(N, 4, seed=4), Head(normal(V, 4, seed=5), softcap=softcap)),
        teacher=States(normal(N, 6, seed=6), Head(normal(V + 2, 6, seed=7))),
        votes=Votes(
            torch.randint(3, (N, K), generator=generator),
            torch.randint(K + 1, (N,), generator=generator),
            ALPHA,
        ),
    )


def _logits(states: States) -> Tensor:
    head = states.head
    z = states.hidden @ head.weight[:V].T
    if head.bias is not None:
        z = z + head.bias
    z = z * head.scale
    return head.softcap * torch.tanh(z / head.softcap) if head.softcap else z


def naive(positions: Positions) -> dict[Score, Tensor]:
    assert positions.reference is not None
    assert positions.teacher is not None
    return naive_scores(
        _logits(positions.student), positions.token_ids,
        ref=_logits(positions.reference), teacher=_logits(positions.teacher), votes=positions.votes,
    )  # fmt: skip


def trained(positions: Positions) -> list[Tensor]:
    head = positions.student.head
    return [positions.student.hidden, head.weight, *([] if head.bias is None else [head.bias])]


def loss_of(weights: dict[Score, Tensor]):
    """A sum of functions of the scores that are not all linear."""

    def loss_of(scores, at: slice) -> dict[str, Tensor]:
        return {
            name: (weights[name][at] * (value.exp() if name == "logp" else value)).sum()
            for name, value in scores.items()
        }

    return loss_of


@pytest.mark.parametrize("head", [{}, {"softcap": 2.0, "scale": 0.7, "bias": True}], ids=["plain", "capped"])
@pytest.mark.parametrize("wanted", WANTED, ids=names)
@pytest.mark.parametrize("slice_len", [1, 2, 3, 7, None])
def test_scores_loss_and_gradient_are_the_naive_ones(
    wanted: frozenset[Score], slice_len: int | None, head: dict
):
    positions = positions_of(**head)
    weights: dict[Score, Tensor] = {name: normal(N, seed=20 + i) for i, name in enumerate(sorted(EVERY))}
    weights["logp"][2] = 0.0
    weights["ref_kl"][:3] = 0.0  # where nothing holds the student, and where the two pull alike:
    known = naive(positions)
    weights["ref_kl"][4] = (weights["logp"] * known["logp"].detach().exp())[4]
    loss = loss_of(weights)
    expected = sum(loss({name: known[name] for name in wanted}, slice(0, N)).values()) / 3
    gradients = torch.autograd.grad(2 * expected, trained(positions), allow_unused=True)

    found = fused_loss(positions, wanted, loss, divisor=3.0, slice_len=slice_len)
    (2 * found.loss).backward()

    assert found.loss.item() == pytest.approx(expected.item(), rel=1e-12)
    assert sum(found.parts.values()).item() / 3 == pytest.approx(expected.item(), rel=1e-12)
    scores = token_scores(positions, wanted, slice_len=slice_len)
    for name in wanted:
        for own in (found.scores, scores):
            assert torch.allclose(own[name], known[name], rtol=0, atol=1e-12), name
    for parameter, gradient in zip(trained(positions), gradients, strict=True):
        assert torch.allclose(parameter.grad, gradient, rtol=0, atol=1e-11)


@pytest.mark.parametrize("slice_len", [2, None])
def test_what_a_student_has_beyond_the_others_vocabulary_is_no_token_and_takes_no_gradient(slice_len):
    positions = positions_of()
    wider = torch.cat([positions.student.head.weight.detach(), normal(3, H, seed=8)]).requires_grad_()
    wide = replace(positions, student=States(positions.student.hidden.detach(), Head(wider)))
    assert positions.reference is not None
    for own in (positions, replace(wide, teacher=None)):
        fused_loss(
            own, {"ref_kl", "logp"}, lambda s, _: {"kl": (s["ref_kl"] - s["logp"]).sum()}, slice_len=slice_len
        ).loss.backward()
    assert torch.allclose(wider.grad[:V], positions.student.head.weight.grad, atol=1e-12)
    assert wider.grad[V:].abs().max() == 0


def test_a_heads_gradient_is_summed_in_float32_whatever_products_are_taken_in(
    monkeypatch: pytest.MonkeyPatch,
):
    """In parts of a few rows, over several slices."""
    monkeypatch.setattr("omniopd.functional.sheets.CAST_ROWS", 4)
    hidden, weight = (normal(n, 32, seed=n).float() for n in (40, 50))
    ids = torch.arange(40)

    def gradient(dtype: torch.dtype | None) -> Tensor:
        own = weight.clone().requires_grad_()
        positions = Positions(States(hidden, Head(own, dtype=dtype)), ids)
        fused_loss(
            positions, {"logp"}, lambda scores, _: {"nll": -scores["logp"].sum()}, slice_len=3
        ).loss.backward()
        return own.grad

    exact, found = gradient(None), gradient(torch.bfloat16)
    assert found.dtype == torch.float32
    assert not torch.equal(found, exact)
    assert (found - exact).abs().max() < 0.02 * exact.abs().max()


def test_a_frozen_head_is_given_no_gradient():
    positions = positions_of()
    positions.student.head.weight.requires_grad_(False)
    fused_loss(positions, {"logp"}, lambda scores, _: {"nll": -scores["logp"].sum()}).loss.backward()
    assert positions.student.head.weight.grad is None
    assert positions.student.hidden.grad is not None


def test_a_loss_that_depends_on_nothing_moves_nothing():
    positions = positions_of()
    found = fused_loss(positions, {"logp"}, lambda *_: {"none": torch.zeros(())})
    found.loss.backward()
    assert positions.student.hidden.grad.abs().max() == 0


def test_bfloat16_states_are_reduced_in_float32():
    hidden, weight = normal(N, 64, seed=1).bfloat16(), normal(500, 64, seed=2).bfloat16()
    ids = torch.arange(N)
    found = token_scores(Positions(States(hidden, Head(weight)), ids), {"logp", "entropy"})
    logits = (hidden @ weight.T).float()
    assert found["entropy"].dtype == torch.float32
    assert torch.allclose(found["entropy"], F.token_entropy(logits), atol=1e-4)
    assert torch.allclose(found["logp"], F.token_logp(logits, ids), atol=1e-4)


def test_scores_are_finite_where_probabilities_are_not_to_be_told_from_0():
    """A student that is sure, beside a reference that is sure of something else: logits 200 apart, in float32."""
    hidden = torch.tensor([[200.0, 0.0], [0.0, 0.0]], requires_grad=True)
    positions = Positions(
        States(hidden, Head(torch.eye(3, 2))),
        torch.tensor([1, 1]),
        reference=States(torch.tensor([[0.0, 200.0], [0.0, 0.0]]), Head(torch.eye(3, 2))),
        votes=Votes(torch.tensor([[1], [1]]), torch.tensor([1, 1]), 1.0),
    )
    wanted: set[Score] = {"logp", "ref_kl", "kl_to_ref", "posterior_kl", "entropy"}
    found = fused_loss(positions, wanted, lambda s, _: {name: value.sum() for name, value in s.items()})
    found.loss.backward()
    assert found.scores["logp"].tolist() == pytest.approx([-200.0, -1.0986122])
    assert found.scores["ref_kl"].tolist() == pytest.approx([200.0, 0.0], abs=1e-6)
    assert found.scores["kl_to_ref"].tolist() == pytest.approx([200.0, 0.0], abs=1e-6)
    assert all(value.isfinite().all() for value in found.scores.values())
    assert hidden.grad.isfinite().all()


def test_memory_does_not_grow_with_the_number_of_positions():
    """The sheets and the states' own gradient are all that is allocated."""

    def largest(num: int) -> int:
        hidden = torch.randn(num, 4, requires_grad=True)
        positions = Positions(
            States(hidden, Head(torch.randn(2000, 4))),
            torch.zeros(num, dtype=torch.int64),
            reference=States(torch.randn(num, 4), Head(torch.randn(2000, 4))),
        )
        with torch.profiler.profile(profile_memory=True) as profile:
            fused_loss(
                positions,
                {"logp", "ref_kl"},
                lambda s, _: {"kl": (s["ref_kl"] + s["logp"]).sum()},
                slice_len=8,
            )
        return max(event.self_cpu_memory_usage for event in profile.events())

    assert largest(400) == largest(40)
