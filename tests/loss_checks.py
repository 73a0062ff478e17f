"""What every way of working on sheets must come to: positions of small models, and checks against whole logits."""

from dataclasses import replace

import pytest
import torch
from examples import naive_scores
from torch import Tensor

from omniopd.functional import Head, Positions, Score, States, Votes, fused_loss, token_scores

N, H, V, K, ALPHA = 7, 5, 11, 3, 1.3
EVERY: frozenset[Score] = frozenset(
    {
        "logp",
        "entropy",
        "ref_kl",
        "kl_to_ref",
        "kl_to_teacher",
        "teacher_logp",
        "posterior_kl",
        "centred_fork",
    }
)
WANTED: list[frozenset[Score]] = [
    frozenset({"logp"}),
    frozenset({"logp", "ref_kl"}),
    frozenset({"ref_kl"}),
    frozenset({"ref_kl", "posterior_kl"}),
    frozenset({"ref_kl", "centred_fork"}),
    frozenset({"centred_fork"}),
    frozenset({"kl_to_teacher"}),
    frozenset({"logp", "teacher_logp"}),
    frozenset({"logp", "kl_to_ref"}),
    frozenset({"entropy", "logp"}),
    EVERY,
]


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


def check_naive(positions: Positions, wanted: frozenset[Score], slice_len: int | None) -> None:
    """That scores, loss and gradient are those of whole logits, in float64."""
    device = positions.token_ids.device
    weights: dict[Score, Tensor] = {
        name: normal(N, seed=20 + i).to(device) for i, name in enumerate(sorted(EVERY))
    }
    weights["logp"][2] = 0.0
    weights["ref_kl"][:3] = 0.0  # where nothing holds the student, and where the two pull alike:
    known = naive(positions)
    weights["ref_kl"][4] = (weights["logp"] * known["logp"].detach().exp())[4]
    loss = loss_of(weights)
    expected = sum(loss({name: known[name] for name in wanted}, slice(0, N)).values()) / 3
    gradients = torch.autograd.grad(2 * expected, trained(positions), allow_unused=True)

    fused = fused_loss(positions, wanted, loss, divisor=3.0, slice_len=slice_len)
    (2 * fused.loss).backward()

    assert fused.loss.item() == pytest.approx(expected.item(), rel=1e-12)
    assert sum(fused.parts.values()).item() / 3 == pytest.approx(expected.item(), rel=1e-12)
    scores = token_scores(positions, wanted, slice_len=slice_len)
    for name in wanted:
        for actual in (fused.scores, scores):
            assert torch.allclose(actual[name], known[name], rtol=0, atol=1e-12), name
    for parameter, gradient in zip(trained(positions), gradients, strict=True):
        assert torch.allclose(parameter.grad, gradient, rtol=0, atol=1e-11)


def check_beyond(positions: Positions, slice_len: int | None) -> None:
    """That what a student has beyond the others' vocabulary is no token, and takes no gradient."""
    weight = positions.student.head.weight
    wider = torch.cat([weight.detach(), normal(3, H, seed=8).to(weight.device)]).requires_grad_()
    wide = replace(positions, student=States(positions.student.hidden.detach(), Head(wider)))
    assert positions.reference is not None
    for given in (positions, replace(wide, teacher=None)):
        fused_loss(
            given,
            {"ref_kl", "logp"},
            lambda s, _: {"kl": (s["ref_kl"] - s["logp"]).sum()},
            slice_len=slice_len,
        ).loss.backward()
    assert torch.allclose(wider.grad[:V], weight.grad, atol=1e-12)
    assert wider.grad[V:].abs().max() == 0


def check_sure(device: str) -> None:
    """That all is finite where a student is sure beside a reference that is of something else: logits 200 apart."""
    hidden = torch.tensor([[200.0, 0.0], [0.0, 0.0]], device=device, requires_grad=True)
    head, ones = Head(torch.eye(3, 2, device=device)), torch.tensor([1, 1], device=device)
    positions = Positions(
        States(hidden, head),
        ones,
        reference=States(torch.tensor([[0.0, 200.0], [0.0, 0.0]], device=device), head),
        votes=Votes(ones[:, None], ones, 1.0),
    )
    wanted: set[Score] = {"logp", "ref_kl", "kl_to_ref", "posterior_kl", "entropy"}
    fused = fused_loss(positions, wanted, lambda s, _: {name: value.sum() for name, value in s.items()})
    fused.loss.backward()
    assert fused.scores["logp"].tolist() == pytest.approx([-200.0, -1.0986122])
    assert fused.scores["ref_kl"].tolist() == pytest.approx([200.0, 0.0], abs=1e-6)
    assert fused.scores["kl_to_ref"].tolist() == pytest.approx([200.0, 0.0], abs=1e-6)
    assert all(value.isfinite().all() for value in fused.scores.values())
    assert hidden.grad.isfinite().all()
