"""What holds for every method, and the special cases of each."""

import itertools
import math
from dataclasses import replace
from itertools import product

import pytest
import torch
from examples import METHODS, annotated, bare, logits_of, naive_scores, scaled, scores_of, verdict
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel
from written_out import LOSSES

from omniopd import functional as F
from omniopd.data.rows import Row, collate
from omniopd.functional import Score
from omniopd.methods import GRPO, OPD, SFT, Annotated, Fork, Method, OmniOPD, Plan

each_method = pytest.mark.parametrize(
    "method", METHODS, ids=[f"{type(method).__name__}-{i}" for i, method in enumerate(METHODS)]
)
PLAN = Plan(num_samples=4, max_new_tokens=48, steps_per_round=1)


def gradient_of(
    model: PreTrainedModel, method: Method, rows: list[Row], *, pad_id: int = 0
) -> tuple[float, torch.Tensor]:
    """Loss and gradient of all parameters, in float64, beside a reference and a teacher of other weights."""
    student = scaled(model, 1.0)
    batch = collate(rows, pad_id=pad_id)
    scores = scores_of(student, batch, method, reference=scaled(model, 1.1), teacher=scaled(model, 0.8))
    loss = sum(method.loss(scores, batch.columns).values())
    loss.backward()
    return loss.item(), torch.cat([parameter.grad.flatten() for parameter in student.parameters()])


@each_method
def test_padding_and_the_order_of_a_batch_are_irrelevant_and_parts_add_up(model, method: Method):
    rows = method.rows(annotated(method))
    loss, gradient = gradient_of(model, method, rows)
    for other in (gradient_of(model, method, rows, pad_id=13), gradient_of(model, method, rows[::-1])):
        assert other[0] == pytest.approx(loss, rel=1e-12)
        assert torch.allclose(other[1], gradient, rtol=0, atol=1e-12)
    parts = [gradient_of(model, method, [row]) for row in rows]
    assert sum(part[0] for part in parts) == pytest.approx(loss, rel=1e-12)
    assert torch.allclose(sum(part[1] for part in parts), gradient, rtol=0, atol=1e-12)
    assert gradient.abs().max() > 1e-3


@each_method
def test_loss_and_gradient_are_those_of_the_method_written_out(model, method: Method):
    items = annotated(method)
    student = scaled(model, 1.0)

    def matrices(of: PreTrainedModel) -> list[torch.Tensor]:
        logps = []
        for item in items:
            t = item.trajectory
            logits = of(input_ids=torch.tensor([[*t.prompt_ids, *t.response_ids]])).logits
            logps.append(logits[0, len(t.prompt_ids) - 1 : -1].log_softmax(-1))
        return logps

    with torch.no_grad():
        reference, teacher = matrices(scaled(model, 1.1)), matrices(scaled(model, 0.8))
    expected = LOSSES[type(method)](method, items, matrices(student), reference, teacher)
    expected.backward()
    gradient = torch.cat([parameter.grad.flatten() for parameter in student.parameters()])

    loss, actual = gradient_of(model, method, method.rows(items))

    # Weights, advantages and log-probabilities of the roll-out are float32.
    assert loss == pytest.approx(expected.item(), rel=1e-6, abs=1e-6)
    assert torch.allclose(actual, gradient, rtol=1e-5, atol=1e-6)


@each_method
def test_prompt_tokens_and_padding_never_train(model, method: Method):
    items = annotated(method)
    batch = collate(method.rows(items), pad_id=0)
    logits = model(input_ids=batch.input_ids).logits.detach().requires_grad_()
    picked = logits.flatten(0, 1)[batch.index]
    scores = naive_scores(
        picked, batch.token_ids,
        ref=picked.detach() * 1.3, teacher=picked.detach() * 0.5, votes=method.votes(batch.columns),
    )  # fmt: skip
    sum(method.loss(scores, batch.columns).values()).backward()
    for i, item in enumerate(items):
        first = len(item.trajectory.prompt_ids) - 1
        length = len(item.trajectory.response_ids)
        assert logits.grad[i, :first].abs().sum() == 0
        assert logits.grad[i, first + length :].abs().sum() == 0
    assert logits.grad.abs().sum() > 0


@each_method
def test_a_method_reads_the_scores_that_it_names_and_no_others(model, method: Method):
    batch = collate(method.rows(annotated(method)), pad_id=0)
    student = scaled(model, 1.0)
    scores = scores_of(student, batch, method, reference=scaled(model, 1.1), teacher=student)
    method.loss({name: scores[name] for name in method.scores}, batch.columns)
    for name in method.scores:
        with pytest.raises(KeyError):
            method.loss({other: scores[other] for other in method.scores - {name}}, batch.columns)


@each_method
def test_the_same_metrics_are_reported_every_round(method: Method):
    items = annotated(method)
    assert method.metrics(items).keys() == method.metrics(bare(items)).keys()
    assert all(math.isfinite(value) for value in method.metrics(bare(items)).values())


@each_method
def test_several_steps_on_a_round_are_for_methods_that_allow_it(method: Method):
    plan = Plan(num_samples=4, max_new_tokens=48, steps_per_round=2)
    assert method.problems(PLAN) == []
    assert len(method.problems(plan)) == (0 if isinstance(method, SFT | GRPO) else 1)


# --- sft


def test_sft_is_torchs_cross_entropy(model):
    method = SFT()
    batch = collate(method.rows(annotated(method)), pad_id=0)
    student = scaled(model, 1.0)
    scores = scores_of(student, batch, method, reference=student, teacher=student)
    expected = cross_entropy(logits_of(student, batch), batch.token_ids, reduction="sum")
    assert method.loss(scores, batch.columns)["nll"].item() == pytest.approx(expected.item(), rel=1e-12)


# --- opd


@pytest.mark.parametrize("form", ["full", "sampled"])
def test_a_teacher_that_is_the_student_teaches_nothing(model, form: str):
    method = OPD(form=form)
    student = scaled(model, 1.0)
    batch = collate(method.rows(annotated(method)), pad_id=0)
    same = scaled(model, 1.0)
    scores = scores_of(student, batch, method, reference=same, teacher=same)
    loss = sum(method.loss(scores, batch.columns).values())
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-12)
    assert max(parameter.grad.abs().max().item() for parameter in student.parameters()) < 1e-12


def test_the_sampled_form_has_the_gradient_of_the_full_one_in_expectation():
    """Over every token that the student may write, weighted by how probable it is."""
    generator = torch.Generator().manual_seed(3)
    logits, teacher = torch.randn(2, 6, generator=generator, dtype=torch.float64)
    full = logits.clone().requires_grad_()
    F.reverse_kl(full, teacher).backward()
    sampled = torch.zeros(6, dtype=torch.float64)
    for token in range(6):
        z = logits.clone().requires_grad_()
        ids = torch.tensor(token)
        advantage = F.token_logp(teacher, ids) - F.token_logp(z, ids).detach()
        (-advantage * F.token_logp(z, ids)).backward()
        sampled += logits.softmax(-1)[token] * z.grad
    assert torch.allclose(sampled, full.grad, atol=1e-12)


AHEAD = [OPD(form="sampled"), OmniOPD(num_chunks=2, num_replies=2, chunk_len=1, beta=0.0)]


@pytest.mark.parametrize("method", AHEAD, ids=["opd", "omniopd"])
def test_what_old_weights_wrote_has_the_expected_gradient_of_what_is_written_now(method: Method):
    """Over every token that either may write, weighted by how probable it is: exact where no ratio is cut off."""
    generator = torch.Generator().manual_seed(6)
    now = torch.randn(14, generator=generator, dtype=torch.float64)
    old = now + 0.5 * torch.rand(14, generator=generator, dtype=torch.float64)
    assert (now.log_softmax(-1) - old.log_softmax(-1)).exp().max() < 2
    teacher = torch.randn(14, generator=generator, dtype=torch.float64)

    def expected(writer: Tensor, staleness: int) -> Tensor:
        total = torch.zeros(14, dtype=torch.float64)
        for token, probability in enumerate(writer.softmax(-1)):
            z, ids = now.clone().requires_grad_(), torch.tensor([token])
            scores: dict[Score, Tensor] = {
                "logp": F.token_logp(z[None], ids),
                "teacher_logp": F.token_logp(teacher[None], ids),
                "ref_kl": torch.zeros(1, dtype=torch.float64),
            }
            trajectory = replace(
                annotated(method)[0].trajectory,
                response_ids=[token],
                entropies=[1.0],
                logps=F.token_logp(writer[None], ids).tolist(),
                staleness=staleness,
            )
            verdicts = [verdict(method, trajectory, 0)] if "verdicts" in method.needs else []
            [row] = method.rows([Annotated(trajectory, [replace(v, k_sem=token / 14) for v in verdicts])])
            columns = {
                name: torch.as_tensor(column, dtype=torch.bool if name == "audited" else torch.float64)
                for name, column in row.columns.items()
            }
            sum(method.loss(scores, columns).values()).backward()
            total += probability * z.grad
        return total

    assert torch.allclose(expected(old, 1), expected(now, 0), atol=1e-12)
    assert not torch.allclose(expected(old, 0), expected(now, 0), atol=1e-3)


def test_a_ratio_of_new_to_old_is_cut_off_and_carries_no_gradient():
    logp = torch.tensor([-1.0, -3.0, -0.1], requires_grad=True)
    weights = F.importance(logp, torch.tensor([-1.0, -2.0, -9.0]))
    assert weights.tolist() == pytest.approx([1.0, math.exp(-1), 2.0])
    assert not weights.requires_grad


@pytest.mark.parametrize("form", ["full", "sampled"])
def test_vocabularies_padded_to_other_widths_are_compared_where_both_have_tokens(form: str):
    generator = torch.Generator().manual_seed(4)
    hidden, student, other, beyond = (torch.randn(n, 5, generator=generator) for n in (3, 6, 6, 2))
    method = OPD(form=form)

    def loss(student: torch.Tensor, teacher: torch.Tensor) -> float:
        positions = F.Positions(
            F.States(hidden, F.Head(student)),
            torch.tensor([2, 3, 4]),
            teacher=F.States(hidden * 2, F.Head(teacher)),
        )
        return F.fused_loss(positions, method.scores, lambda scores, _: method.loss(scores, {})).loss.item()

    assert loss(student, torch.cat([other, beyond])) == pytest.approx(loss(student, other))
    assert loss(torch.cat([student, beyond]), other) == pytest.approx(loss(student, other))


# --- grpo


def test_equal_rewards_teach_nothing(model):
    method = GRPO()
    items = [type(item)(item.trajectory, (), reward=1.0) for item in annotated(method)]
    loss, gradient = gradient_of(model, method, method.rows(items))
    assert (loss, gradient.abs().max().item()) == (0.0, 0.0)


def test_a_ratio_beyond_the_clip_takes_no_gradient_where_that_would_push_it_further():
    logp = torch.tensor([0.5, 0.5, -0.5, -0.5]).requires_grad_()
    advantage = torch.tensor([1.0, -1.0, 1.0, -1.0])
    F.clipped_ratio(logp, torch.zeros(4), advantage=advantage, clip=0.2).backward()
    assert logp.grad is not None
    pushed = [value != 0 for value in logp.grad.tolist()]
    assert pushed == [False, True, True, False]


def test_one_response_a_prompt_has_nothing_to_be_compared_with():
    [problem] = GRPO().problems(Plan(num_samples=1, max_new_tokens=48, steps_per_round=1))
    assert "rollout.num_samples is 1" in problem


# --- omniopd


@pytest.mark.parametrize("baseline", ["none", "batch"])
def test_an_anchor_at_which_the_teacher_was_not_asked_trains_nothing(baseline: str):
    method = OmniOPD(alpha=0, num_chunks=2, num_replies=2, chunk_len=2, baseline=baseline)
    items = annotated(method)
    unasked = replace(
        items[0].verdicts[0],
        replies=[],
        similarities=[],
        reply_ids=[],
        num_replies=0,
        k_sem=0.0,
        boundary=True,
    )
    marked = [replace(items[0], verdicts=[unasked, *items[0].verdicts[1:]]), *items[1:]]
    without = [replace(items[0], verdicts=items[0].verdicts[1:]), *items[1:]]

    for row, other in zip(method.rows(marked), method.rows(without), strict=True):
        assert row.columns == other.columns
    assert method.metrics(marked) == method.metrics(without) | {"boundaries": 1.0}


def test_with_nothing_audited_omniopd_is_the_anchor_alone(model):
    method = OmniOPD(num_chunks=2, num_replies=2, chunk_len=2)
    batch = collate(method.rows(bare(annotated(method))), pad_id=0)
    student = scaled(model, 1.0)
    scores = scores_of(student, batch, method, reference=scaled(model, 1.1), teacher=student)
    parts = method.loss(scores, batch.columns)
    assert parts["reinforcement"] == 0
    assert parts["anchor"].item() == pytest.approx(0.1 * scores["ref_kl"].sum().item())


def test_a_response_shorter_than_a_chunk_has_nothing_audited():
    method = OmniOPD(num_chunks=2, num_replies=2, chunk_len=2)
    row = method.rows(annotated(method))[-1]
    assert len(row.response_ids) == 1
    assert row.columns["audited"] == [False]


def test_the_target_tends_to_the_belief_with_a_strong_prior_and_is_the_agreement_without_one():
    verdict = annotated(METHODS[5])[0].verdicts[0]
    assert OmniOPD(alpha=1e12).target(verdict) == pytest.approx(verdict.pi_bar, abs=1e-9)
    assert OmniOPD(alpha=0).target(verdict) == pytest.approx(verdict.k_sem / verdict.num_replies)


def test_the_placebo_is_judged_by_the_replies_to_another_trajectory():
    plain, shuffled = OmniOPD(chunk_len=2, num_replies=2), OmniOPD(chunk_len=2, num_replies=2, shuffled=True)
    items = annotated(plain)
    verdicts = [verdict for item in items for verdict in item.answered]
    half = len(verdicts) // 2
    rows = {row.id: row for row in shuffled.rows(items)}
    owners = {verdict.id: verdict.trajectory_id for verdict in verdicts}
    for i, mine in enumerate(verdicts):
        other = verdicts[(i + half) % len(verdicts)]
        assert owners[mine.id] != owners[other.id]
        k_sem = sum(F.SIMILARITIES["edit"](mine.chunk, reply) for reply in other.replies)
        target = plain.target(replace(mine, k_sem=k_sem, num_replies=len(other.replies)))
        assert rows[mine.trajectory_id].columns["weight"][mine.anchor] == pytest.approx(target)
    assert shuffled.metrics(items)["target/mean"] != plain.metrics(items)["target/mean"]
    assert "shuffled" not in plain.determining()


# --- fork


def test_with_no_replies_fork_is_the_anchor_alone(model):
    method = Fork()
    batch = collate(method.rows(bare(annotated(method))), pad_id=0)
    student = scaled(model, 1.0)
    scores = scores_of(student, batch, method, reference=scaled(model, 1.1), teacher=student)
    parts = method.loss(scores, batch.columns)
    assert parts["fork"] == 0
    assert parts["anchor"].item() == pytest.approx(0.1 * scores["ref_kl"].sum().item())


def test_the_gradient_of_fork_is_that_of_confidence_weighted_imitation():
    """method.md, 3b: − sum over v of sg[pi_v · log(1 + n_v / (alpha · pi_v))] · log pi_v."""
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(5, 9, generator=generator, dtype=torch.float64)
    votes = torch.randint(9, (5, 4), generator=generator)
    num_votes = torch.tensor([4, 1, 3, 2, 4])
    for alpha in (0.2, 1.0, 10.0):
        z = logits.clone().requires_grad_()
        F.reverse_kl(z, F.token_posterior(z, votes, num_votes, alpha=alpha)).sum().backward()
        w = logits.clone().requires_grad_()
        pi = w.softmax(-1).detach()
        counts = torch.zeros_like(pi)
        for k in range(5):
            for vote in votes[k, : num_votes[k]].tolist():
                counts[k, vote] += 1
        weight = pi * (1 + counts / (alpha * pi)).log()
        (-(weight * w.log_softmax(-1)).sum()).backward()
        assert torch.allclose(z.grad, w.grad, atol=1e-10)


@pytest.mark.parametrize(
    ("alpha", "num_replies", "stated"), [(1.0, 1, 0.82), (10.0, 1, 0.72), (1.0, 4, 0.76)]
)
def test_the_fixed_point_of_fork_for_a_teacher_at_0_7_is_the_one_stated(
    alpha: float, num_replies: int, stated: float
):
    """Where the expected gradient over the teacher's replies is zero, of two tokens."""

    def expected_gradient(p: float) -> float:
        z = torch.tensor([math.log(p), math.log(1 - p)], dtype=torch.float64).requires_grad_()
        loss = torch.tensor(0.0, dtype=torch.float64)
        for first in range(num_replies + 1):
            chance = math.comb(num_replies, first) * 0.7**first * 0.3 ** (num_replies - first)
            votes = torch.tensor([[0] * first + [1] * (num_replies - first)])
            posterior = F.token_posterior(z[None], votes, torch.tensor([num_replies]), alpha=alpha)
            loss = loss + chance * F.reverse_kl(z[None], posterior).sum()
        loss.backward()
        return z.grad[0].item()

    low, high = 0.5, 0.999
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if expected_gradient(middle) < 0 else (low, middle)
    assert low == pytest.approx(stated, abs=0.005)


def expected_gradient(
    p: list[float], teacher: list[float], *, num_replies: int, alpha: float
) -> torch.Tensor:
    """Of the centred fork with respect to the logits, over every vote that the teacher may cast."""
    z = torch.tensor(p, dtype=torch.float64).log().requires_grad_()
    loss = torch.tensor(0.0, dtype=torch.float64)
    for votes in product(range(len(p)), repeat=num_replies):
        chance = math.prod(teacher[vote] for vote in votes)
        loss = (
            loss
            + chance
            * F.centred_fork(
                z[None], torch.tensor([votes]), torch.tensor([num_replies]), alpha=alpha
            ).squeeze()
        )
    loss.backward()
    assert z.grad is not None
    return z.grad


@pytest.mark.parametrize("alpha", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("num_replies", [1, 3])
def test_of_the_centred_fork_a_teacher_that_is_the_student_expects_no_change(alpha: float, num_replies: int):
    """method.md, 3c. The plain form sharpens such a student."""
    p = [0.55, 0.25, 0.15, 0.05]
    gradient = expected_gradient(p, p, num_replies=num_replies, alpha=alpha)
    assert gradient.abs().max() < 1e-12
    z = torch.tensor(p, dtype=torch.float64).log().requires_grad_()
    for vote, chance in enumerate(p):
        posterior = F.token_posterior(z[None], torch.tensor([[vote]]), torch.tensor([1]), alpha=alpha)
        (chance * F.reverse_kl(z[None], posterior)).sum().backward()
    assert z.grad is not None
    assert z.grad[0] < -1e-3


@pytest.mark.parametrize("alpha", [0.1, 1.0, 10.0])
def test_the_expected_gradient_of_the_centred_fork_is_the_gap_to_the_teacher_weighted(alpha: float):
    p, teacher = [0.5, 0.3, 0.2], [0.1, 0.2, 0.7]
    z = torch.tensor(p, dtype=torch.float64).log().requires_grad_()
    pi = torch.tensor(p, dtype=torch.float64)
    gap = torch.tensor(teacher, dtype=torch.float64) - pi
    (-2 * gap * F.vote_weight(pi, torch.tensor(2.0), alpha=alpha) * z.log_softmax(-1)).sum().backward()
    assert torch.allclose(expected_gradient(p, teacher, num_replies=2, alpha=alpha), z.grad, atol=1e-12)


@pytest.mark.parametrize(("alpha", "num_replies"), [(1.0, 1), (0.1, 1), (10.0, 2)])
def test_the_fixed_point_of_the_centred_fork_is_the_teacher(alpha: float, num_replies: int):
    low, high = 0.5, 0.999
    for _ in range(50):
        middle = (low + high) / 2
        gradient = expected_gradient([middle, 1 - middle], [0.7, 0.3], num_replies=num_replies, alpha=alpha)
        low, high = (middle, high) if gradient[0] < 0 else (low, middle)
    assert low == pytest.approx(0.7, abs=1e-6)


def test_a_method_that_is_centred_takes_that_score_and_has_a_key_of_its_own():
    assert Fork(centred=True).scores == {"centred_fork", "ref_kl"}
    assert Fork().scores == {"posterior_kl", "ref_kl"}
    assert "centred" not in Fork().determining()
    assert Fork(centred=True).determining()["centred"] is True


def test_a_reply_counts_up_to_its_first_divergence_and_nowhere_after():
    y = [5, 6, 7, 8]
    assert F.tally(y, [[6, 7, 8]], anchor=1, chunk_len=3) == {1: [6], 2: [7], 3: [8]}
    assert F.tally(y, [[6, 9, 8]], anchor=1, chunk_len=3) == {1: [6], 2: [9]}
    assert F.tally(y, [[9, 7, 8]], anchor=1, chunk_len=3) == {1: [9]}
    assert F.tally(y, [[6]], anchor=1, chunk_len=3) == {1: [6]}
    assert F.tally(y, [[], [9]], anchor=0, chunk_len=2) == {0: [9]}
    assert F.tally(y, [[8, 8, 8]], anchor=3, chunk_len=1) == {3: [8]}
    assert F.tally(y, [], anchor=0, chunk_len=2) == {}


# --- the baseline


@pytest.mark.parametrize("pools", [None, ["p", "p", "other"]])
def test_the_baseline_leaves_the_expected_gradient_unchanged(pools: list[str] | None):
    """By enumeration: three responses of one token over three, each audited, their targets functions of the token."""
    z = torch.tensor([0.3, -0.5, 0.8], dtype=torch.float64)
    target = [0.9, 0.1, 0.4]

    def expected(with_baseline: bool) -> torch.Tensor:
        w = z.clone().requires_grad_()
        p, logp = w.softmax(-1).detach(), w.log_softmax(-1)
        loss = torch.tensor(0.0, dtype=torch.float64)
        for tokens in itertools.product(range(3), repeat=3):
            weights = [target[token] for token in tokens]
            if with_baseline:
                weights = F.leave_one_out(weights, ["x", "y", "z"], pools=pools)
            chance = math.prod(p[token].item() for token in tokens)
            for weight, token in zip(weights, tokens, strict=True):
                loss = loss - chance * weight * logp[token]
        loss.backward()
        return w.grad

    assert torch.allclose(expected(with_baseline=True), expected(with_baseline=False), atol=1e-12)
