"""Scores and losses from hidden states: equal to the naive forms in float64 however positions are sliced."""

import pytest
import torch
from loss_checks import WANTED, N, check_beyond, check_naive, check_sure, normal, positions_of
from torch import Tensor

from omniopd import functional as F
from omniopd.functional import Head, Positions, Score, States, fused_loss, token_scores


def names(wanted: frozenset[Score]) -> str:
    """The same in every process, whatever order a set has there."""
    return "-".join(sorted(wanted))


@pytest.mark.parametrize("head", [{}, {"softcap": 2.0, "scale": 0.7, "bias": True}], ids=["plain", "capped"])
@pytest.mark.parametrize("wanted", WANTED, ids=names)
@pytest.mark.parametrize("slice_len", [1, 2, 3, 7, None])
def test_scores_loss_and_gradient_are_the_naive_ones(
    wanted: frozenset[Score], slice_len: int | None, head: dict
):
    check_naive(positions_of(**head), wanted, slice_len)


@pytest.mark.parametrize("slice_len", [2, None])
def test_what_a_student_has_beyond_the_others_vocabulary_is_no_token_and_takes_no_gradient(slice_len):
    check_beyond(positions_of(), slice_len)


def test_a_heads_gradient_is_summed_in_float32_whatever_products_are_taken_in(
    monkeypatch: pytest.MonkeyPatch,
):
    """In parts of a few rows, over several slices."""
    monkeypatch.setattr("omniopd.functional.sheets.CAST_ROWS", 4)
    hidden, weight = (normal(n, 32, seed=n).float() for n in (40, 50))
    ids = torch.arange(40)

    def gradient(dtype: torch.dtype | None) -> Tensor:
        trained = weight.clone().requires_grad_()
        positions = Positions(States(hidden, Head(trained, dtype=dtype)), ids)
        fused_loss(
            positions, {"logp"}, lambda scores, _: {"nll": -scores["logp"].sum()}, slice_len=3
        ).loss.backward()
        return trained.grad

    exact, rounded = gradient(None), gradient(torch.bfloat16)
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    assert (rounded - exact).abs().max() < 0.02 * exact.abs().max()


def test_a_frozen_head_is_given_no_gradient():
    positions = positions_of()
    positions.student.head.weight.requires_grad_(False)
    fused_loss(positions, {"logp"}, lambda scores, _: {"nll": -scores["logp"].sum()}).loss.backward()
    assert positions.student.head.weight.grad is None
    assert positions.student.hidden.grad is not None


def test_a_loss_that_depends_on_nothing_moves_nothing():
    positions = positions_of()
    fused = fused_loss(positions, {"logp"}, lambda *_: {"none": torch.zeros(())})
    fused.loss.backward()
    assert positions.student.hidden.grad.abs().max() == 0


def test_bfloat16_states_are_reduced_in_float32():
    hidden, weight = normal(N, 64, seed=1).bfloat16(), normal(500, 64, seed=2).bfloat16()
    ids = torch.arange(N)
    scores = token_scores(Positions(States(hidden, Head(weight)), ids), {"logp", "entropy"})
    logits = (hidden @ weight.T).float()
    assert scores["entropy"].dtype == torch.float32
    assert torch.allclose(scores["entropy"], F.token_entropy(logits), atol=1e-4)
    assert torch.allclose(scores["logp"], F.token_logp(logits, ids), atol=1e-4)


def test_scores_are_finite_where_probabilities_round_to_0():
    check_sure("cpu")


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
