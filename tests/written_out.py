"""Every method's loss once more, position by position in float64, from method.md's text and not from the code.

p, ref and teacher hold one matrix a trajectory: (T, V) log-probabilities of the distributions that produced
each response token.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from omniopd.methods import GRPO, OPD, SFT, Annotated, Fork, Method, OmniOPD

Matrices = Sequence[Tensor]


def _kl(a: Tensor, b: Tensor) -> Tensor:
    return (a.exp() * (a - b)).sum()


def sft(method: SFT, annotated: Sequence[Annotated], p: Matrices, ref: Matrices, teacher: Matrices) -> Tensor:
    del method, ref, teacher
    loss = torch.tensor(0.0, dtype=torch.float64)
    for item, logp in zip(annotated, p, strict=True):
        for t, token in enumerate(item.trajectory.response_ids):
            loss = loss - logp[t, token]
    return loss


def opd(method: OPD, annotated: Sequence[Annotated], p: Matrices, ref: Matrices, teacher: Matrices) -> Tensor:
    del ref
    loss = torch.tensor(0.0, dtype=torch.float64)
    for item, logp, theirs in zip(annotated, p, teacher, strict=True):
        for t, token in enumerate(item.trajectory.response_ids):
            if method.form == "full":
                loss = loss + _kl(logp[t], theirs[t])
            else:
                loss = loss - (theirs[t, token] - logp[t, token]).detach() * logp[t, token]
    return loss


def grpo(
    method: GRPO, annotated: Sequence[Annotated], p: Matrices, ref: Matrices, teacher: Matrices
) -> Tensor:
    del teacher
    loss = torch.tensor(0.0, dtype=torch.float64)
    for item, logp, first in zip(annotated, p, ref, strict=True):
        group = [
            other.reward for other in annotated if other.trajectory.prompt_id == item.trajectory.prompt_id
        ]
        mean = sum(group) / len(group)
        std = (sum((reward - mean) ** 2 for reward in group) / len(group)) ** 0.5
        advantage = (item.reward - mean) / std if std else 0.0
        for t, token in enumerate(item.trajectory.response_ids):
            ratio = (logp[t, token] - item.trajectory.logps[t]).exp()
            bounded = min(max(ratio, 1 - method.clip), 1 + method.clip)
            loss = loss - min(ratio * advantage, bounded * advantage)
            loss = loss + method.beta * _kl(logp[t], first[t])
    return loss


def omniopd(
    method: OmniOPD, annotated: Sequence[Annotated], p: Matrices, ref: Matrices, teacher: Matrices
) -> Tensor:
    del teacher
    target = {
        v.id: (v.k_sem + method.alpha * v.pi_bar) / (v.num_replies + method.alpha)
        for item in annotated
        for v in item.verdicts
    }
    loss = torch.tensor(0.0, dtype=torch.float64)
    for item, logp, first in zip(annotated, p, ref, strict=True):
        audited = {}
        for verdict in item.verdicts:
            weight = target[verdict.id]
            others = [
                target[v.id]
                for other in annotated
                for v in other.verdicts
                if other is not item
                and (method.baseline == "batch" or other.trajectory.prompt_id == item.trajectory.prompt_id)
            ]
            if method.baseline != "none" and others:
                weight -= sum(others) / len(others)
            audited |= {verdict.anchor + k: weight for k in range(method.chunk_len)}
        for t, token in enumerate(item.trajectory.response_ids):
            if t in audited:
                loss = loss - audited[t] * logp[t, token]
                continue
            loss = loss + method.beta * _kl(first[t], logp[t])
    return loss


def fork(
    method: Fork, annotated: Sequence[Annotated], p: Matrices, ref: Matrices, teacher: Matrices
) -> Tensor:
    del teacher
    loss = torch.tensor(0.0, dtype=torch.float64)
    for item, logp, first in zip(annotated, p, ref, strict=True):
        y = item.trajectory.response_ids
        for t in range(len(y)):
            counts: dict[int, int] = {}
            for verdict in item.verdicts:
                if not verdict.anchor <= t < verdict.anchor + method.chunk_len:
                    continue
                offset = t - verdict.anchor
                for reply in verdict.reply_ids:
                    if len(reply) > offset and reply[:offset] == y[verdict.anchor : t]:
                        counts[reply[offset]] = counts.get(reply[offset], 0) + 1
            total = sum(counts.values())
            if not total:
                loss = loss + method.beta * _kl(first[t], logp[t])
                continue
            for v in range(logp.shape[1]):
                pi = logp[t, v].exp()
                if method.centred:
                    expected = total * pi.detach()
                    weight = pi.detach() * (1 + total / (method.alpha * pi.detach())).log()
                    loss = loss - (counts.get(v, 0) - expected) * weight * logp[t, v]
                    continue
                q = (counts.get(v, 0) + method.alpha * pi.detach()) / (total + method.alpha)
                loss = loss + pi * (logp[t, v] - q.log())
    return loss


LOSSES: dict[type[Method], Callable[..., Tensor]] = {
    SFT: sft,
    OPD: opd,
    GRPO: grpo,
    OmniOPD: omniopd,
    Fork: fork,
}
