"""The pure functions against an independent float64 oracle, and their properties."""

import math
import random
from itertools import pairwise

import oracle
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omniopd import functional as F
from omniopd.functional.seeds import stable_seed

texts = st.text(alphabet="ab 01+=", max_size=12)
entropies = st.lists(st.floats(0, 5) | st.sampled_from([1.0, 2.0]), max_size=25)


def _logits(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3


def test_entropy_logp_and_kl_equal_the_oracle():
    z, ref = _logits(3, 4, 11), _logits(3, 4, 11, seed=1)
    ids = torch.randint(11, (3, 4), generator=torch.Generator().manual_seed(2))
    h, lp, kl = F.token_entropy(z), F.token_logp(z, ids), F.forward_kl(ref, z)
    for i in range(3):
        for t in range(4):
            row, ref_row = z[i, t].tolist(), ref[i, t].tolist()
            assert h[i, t].item() == pytest.approx(oracle.entropy(row), rel=1e-12)
            assert lp[i, t].item() == pytest.approx(math.log(oracle.softmax(row)[ids[i, t]]), rel=1e-12)
            assert kl[i, t].item() == pytest.approx(oracle.kl(ref_row, row), rel=1e-10)


@given(
    st.lists(st.integers(-24, 24).map(lambda n: n / 4), min_size=1, max_size=9),
    st.floats(0.05, 1.0), st.none() | st.integers(1, 9), st.just(0.0) | st.floats(0.01, 0.9),
)  # fmt: skip
def test_truncated_sampling_keeps_the_tokens_of_its_three_rules(
    logits: list[float], top_p: float, top_k: int | None, min_p: float
):
    kept = F.truncated(torch.tensor([logits], dtype=torch.float64), top_p=top_p, top_k=top_k, min_p=min_p)[0]

    left = {
        v: p for v, p in enumerate(oracle.softmax(logits)) if p >= min_p * max(oracle.softmax(logits)) - 1e-15
    }
    if top_k is not None:
        lowest = sorted(left.values(), reverse=True)[:top_k][-1]
        left = {v: p for v, p in left.items() if p >= lowest - 1e-15}
    nucleus, total = set(), 0.0
    for v, p in sorted(left.items(), key=lambda item: -item[1]):
        if total < top_p - 1e-12:
            nucleus.add(v)
        total += p / sum(left.values())
    kept_tokens = {v for v, z in enumerate(kept.tolist()) if z > -math.inf}
    by_p = lambda tokens: sorted(round(oracle.softmax(logits)[v], 9) for v in tokens)  # noqa: E731 - of ties any is right
    assert by_p(kept_tokens) == by_p(nucleus)
    assert all(kept[v] == logits[v] for v in kept_tokens)
    assert max(logits) == max(logits[v] for v in kept_tokens)


def test_nothing_is_truncated_unless_asked_for():
    z = _logits(3, 11)
    assert F.truncated(z) is z
    assert torch.equal(F.truncated(z, top_k=11), z)


def test_entropy_and_kl_are_finite_where_logits_are_minus_infinity():
    z = torch.tensor([[0.0, 0.0, -math.inf], [0.0, -1e30, -1e30]])
    assert F.token_entropy(z).tolist() == pytest.approx([math.log(2), 0.0])
    assert F.forward_kl(z, z).tolist() == [0.0, 0.0]


@given(st.integers(1, 11))
def test_entropy_of_the_likeliest_is_a_lower_bound_that_grows_to_the_whole(num_top: int):
    z = _logits(6, 11)
    bounds = F.top_entropy(z.log_softmax(-1).topk(num_top).values)
    sizes = [(row.softmax(-1).sort(descending=True).values).tolist() for row in z]
    for bound, exact, p in zip(bounds.tolist(), F.token_entropy(z).tolist(), sizes, strict=True):
        outcomes = [*p[:num_top], sum(p[num_top:])]
        assert bound == pytest.approx(-sum(x * math.log(x) for x in outcomes if x > 1e-12), abs=1e-9)
        assert bound < exact if num_top < 10 else bound == pytest.approx(exact, abs=1e-9)


def test_bfloat16_logits_are_reduced_in_float32():
    z = _logits(2, 5000).bfloat16()
    assert F.token_entropy(z).dtype == torch.float32
    assert torch.equal(F.token_entropy(z), F.token_entropy(z.float()))
    assert torch.equal(F.forward_kl(z, z.flip(0)), F.forward_kl(z.float(), z.flip(0).float()))


def test_kl_sends_its_gradient_to_the_student_alone_and_it_is_student_minus_reference():
    ref, z = _logits(2, 7).requires_grad_(), _logits(2, 7, seed=1).requires_grad_()
    F.forward_kl(ref, z).sum().backward()
    assert ref.grad is None
    assert z.grad is not None
    assert torch.allclose(z.grad, z.softmax(-1) - ref.softmax(-1), atol=1e-12)


@given(entropies, st.integers(1, 5), st.integers(1, 6))
def test_peak_entropy_equals_the_oracle(values: list[float], num_chunks: int, chunk_len: int):
    anchors = F.peak_entropy(values, num_chunks=num_chunks, chunk_len=chunk_len)
    assert anchors == oracle.anchors(values, num_chunks, chunk_len)


@given(st.integers(0, 40), st.integers(1, 5), st.integers(1, 6), st.integers(0, 99))
def test_every_selection_fits_is_disjoint_and_ascends(
    length: int, num_chunks: int, chunk_len: int, seed: int
):
    size = {"num_chunks": num_chunks, "chunk_len": chunk_len}
    for anchors in (
        F.random_anchors(length, **size, rng=random.Random(seed)),
        F.uniform_stride(length, **size),
        F.peak_entropy([0.0] * length, **size),
    ):
        assert len(anchors) <= num_chunks
        assert all(b - a >= chunk_len for a, b in pairwise(anchors))
        assert all(0 <= t <= length - chunk_len for t in anchors)
        assert bool(anchors) == (length >= chunk_len)


def test_ties_go_to_the_larger_position():
    assert F.peak_entropy([1.0, 1.0, 1.0, 1.0], num_chunks=2, chunk_len=1) == [2, 3]


@given(texts, texts)
def test_similarities_equal_the_oracle_and_are_symmetric_in_the_unit_interval(a: str, b: str):
    assert F.edit(a, b) == pytest.approx(oracle.edit(a, b))
    assert F.SIMILARITIES["edit"](a, b) == F.edit(a, b)
    assert F.rouge1(a, b) == pytest.approx(oracle.rouge1(a, b))
    for phi in F.SIMILARITIES.values():
        assert 0 <= phi(a, b) <= 1
        assert phi(a, b) == phi(b, a)
        assert phi(a, a) == 1
    assert (F.edit(a, b) == 1) == (a == b)


logp_lists = st.lists(st.floats(-8, 0), min_size=1, max_size=6)


@given(st.integers(1, 10), st.floats(0, 1), logp_lists, st.floats(0, 50))
def test_the_target_equals_the_oracle_and_is_in_the_unit_interval(n: int, share: float, logps, alpha: float):
    k, pi_bar = share * n, F.geometric_mean(logps)
    posterior = F.posterior_target(k, num_replies=n, pi_bar=pi_bar, alpha=alpha)
    assert posterior == pytest.approx(oracle.target(k, n, logps, alpha), abs=1e-12)
    assert 0 <= posterior <= 1


def test_the_target_tends_to_agreement_and_to_belief():
    assert F.posterior_target(3.0, num_replies=4, pi_bar=0.1, alpha=0.0) == 0.75
    assert F.posterior_target(3.0, num_replies=4, pi_bar=0.1, alpha=1e12) == pytest.approx(0.1)


@pytest.mark.parametrize(("k", "pi_bar"), [(4.1, 1.0), (-0.1, 0.0), (4.0, 1.2), (math.nan, 0.5)])
def test_a_target_outside_the_unit_interval_is_a_fault(k: float, pi_bar: float):
    with pytest.raises(ValueError, match="outside"):
        F.posterior_target(k, num_replies=4, pi_bar=pi_bar, alpha=1.0)


def test_a_baseline_leaves_out_the_whole_group():
    advantages = F.leave_one_out([1.0, 0.0, 0.5, 0.2], ["a", "a", "b", "c"])
    assert advantages == pytest.approx([1 - 0.35, 0 - 0.35, 0.5 - 0.4, 0.2 - 0.5])
    assert F.leave_one_out([0.3, 0.7], ["a", "a"]) == [0.3, 0.7]
    assert F.leave_one_out([], []) == []


@given(st.lists(st.floats(0, 1), min_size=2, max_size=9))
def test_a_baseline_of_single_groups_is_the_leave_one_out_mean(values: list[float]):
    advantages = F.leave_one_out(values, list(range(len(values))))
    mean = sum(values) / len(values)
    scale = len(values) / (len(values) - 1)
    assert advantages == pytest.approx([scale * (value - mean) for value in values], abs=1e-9)


def test_the_loss_sums_reinforcement_over_audited_and_kl_over_the_other_positions():
    parts = F.audited_loss(
        torch.tensor([-1.0, -2.0, -3.0]),
        torch.tensor([0.1, 0.2, 0.4]),
        weight=torch.tensor([0.0, 0.5, 0.0]),
        audited=torch.tensor([False, True, True]),
        beta=0.5,
    )
    # The third is audited with weight 0: it is neither reinforced nor anchored.
    assert [part.item() for part in parts] == pytest.approx([0.5 * 2.0, 0.5 * 0.1])


def test_seeds_depend_on_every_part_and_leave_room_for_a_stride():
    seeds = [stable_seed("rollout", 0, r, p, n) for r in range(5) for p in "ab" for n in range(3)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**48 for seed in seeds)
    assert stable_seed("a", 1) == stable_seed("a", 1)
    assert stable_seed("a", 11) != stable_seed("a", 1, 1)


# --- reverse divergence, posteriors and advantages


def test_reverse_kl_equals_the_oracle_and_sends_its_gradient_to_the_student_alone():
    z, target = _logits(3, 11).requires_grad_(), _logits(3, 11, seed=1).requires_grad_()
    kl = F.reverse_kl(z, target)
    kl.sum().backward()
    for i in range(3):
        row, target_row = z[i].tolist(), target[i].tolist()
        assert kl[i].item() == pytest.approx(oracle.kl(row, target_row), rel=1e-10)
    assert target.grad is None
    assert z.grad is not None
    p, gap = z.softmax(-1), z.log_softmax(-1) - target.log_softmax(-1)
    assert torch.allclose(z.grad, p * (gap - kl[:, None]), atol=1e-12)


def test_reverse_kl_and_its_gradient_are_finite_where_the_student_has_no_mass():
    z = torch.tensor([0.0, 0.0, -math.inf], requires_grad=True)
    F.reverse_kl(z, torch.tensor([0.0, 1.0, -math.inf])).backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()


@given(st.lists(st.lists(st.integers(0, 4), max_size=3), min_size=1, max_size=4), st.floats(0.01, 100))
def test_the_token_posterior_counts_the_votes_upon_the_students_distribution(
    votes: list[list[int]], alpha: float
):
    z = _logits(len(votes), 5)
    padded = torch.tensor([[*cast, *[0] * (3 - len(cast))] for cast in votes])
    posteriors = F.token_posterior(z, padded, torch.tensor([len(cast) for cast in votes]), alpha=alpha).exp()
    for k, cast in enumerate(votes):
        pi = oracle.softmax(z[k].tolist())
        expected = [(cast.count(v) + alpha * pi[v]) / (len(cast) + alpha) for v in range(5)]
        assert posteriors[k].tolist() == pytest.approx(expected, rel=1e-9)


@given(st.integers(1, 20), st.floats(0, 1), st.floats(0, 1), st.floats(0, 5))
def test_the_posteriors_spread_is_that_of_the_beta_distribution(
    n: int, share: float, pi_bar: float, alpha: float
):
    k = share * n
    std = F.posterior_std(k, num_replies=n, pi_bar=pi_bar, alpha=alpha)
    assert std == pytest.approx(oracle.beta_std(k, n, pi_bar, alpha), rel=1e-6, abs=1e-6)


@given(st.lists(st.tuples(st.floats(-5, 5), st.integers(0, 2), st.integers(0, 1)), max_size=12))
def test_leaving_one_out_within_pools_equals_doing_so_in_each_pool(items: list[tuple[float, int, int]]):
    values, groups, pools = ([item[i] for item in items] for i in range(3))
    advantages = F.leave_one_out(values, groups, pools=pools)
    for value, group, pool, advantage in zip(values, groups, pools, advantages, strict=True):
        others = [v for v, g, p in items if p == pool and g != group]
        assert advantage == pytest.approx(value - (sum(others) / len(others) if others else 0.0), abs=1e-9)


@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0, 0.3]), st.integers(0, 2)), max_size=12))
def test_group_normalised_rewards_have_mean_0_and_deviation_1_or_say_nothing(items: list[tuple[float, int]]):
    rewards, groups = ([item[i] for item in items] for i in range(2))
    advantages = F.group_normalised(rewards, groups)
    for group in set(groups):
        members = [a for a, g in zip(advantages, groups, strict=True) if g == group]
        mean = sum(members) / len(members)
        assert mean == pytest.approx(0, abs=1e-9)
        alike = len({r for r, g in items if g == group}) == 1
        assert sum(a * a for a in members) / len(members) == pytest.approx(0.0 if alike else 1.0)


def test_a_weight_that_is_no_number_where_nothing_is_audited_sends_no_gradient():
    logp, kl = (torch.tensor([-0.5, -0.3], requires_grad=True) for _ in range(2))
    weight, audited = torch.tensor([0.7, math.nan]), torch.tensor([True, False])
    sum(F.audited_loss(logp, kl, weight=weight, audited=audited, beta=0.1)).backward()
    assert logp.grad.tolist() == pytest.approx([-0.7, 0.0])
    assert kl.grad.tolist() == pytest.approx([0.0, 0.1])
