"""Annotated trajectories and tiny models for tests of methods."""

import copy
import random
from dataclasses import replace

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from omniopd import functional as F
from omniopd.config import DemoModel
from omniopd.data.records import Trajectory, Verdict
from omniopd.data.rows import Batch
from omniopd.functional import Score, Votes
from omniopd.methods import GRPO, OPD, SFT, Annotated, Fork, Method, OmniOPD
from omniopd.training.pretrain import train_demo_model

METHODS = [
    SFT(),
    OPD(),
    OPD(form="sampled"),
    GRPO(),
    GRPO(clip=0.01, beta=0.3),
    OmniOPD(num_chunks=2, num_replies=2, chunk_len=2),
    OmniOPD(num_chunks=2, num_replies=2, chunk_len=2, baseline="batch", beta=0.3),
    OmniOPD(num_chunks=2, num_replies=2, chunk_len=1, baseline="prompt", clip_replies=True),
    OmniOPD(num_chunks=3, num_replies=2, chunk_len=1, alpha=0.0, selection="uniform", similarity="exact"),
    Fork(num_chunks=3, chunk_len=1, num_replies=1),
    Fork(num_chunks=2, chunk_len=2, num_replies=3, alpha=0.3, beta=0.2, selection="random"),
    Fork(num_chunks=2, chunk_len=2, num_replies=3, alpha=0.3, centred=True),
]
VOCABULARY = 18


def tiny_model(tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """A model of two thousand parameters, hardly trained."""
    settings = DemoModel(
        width=16, ffn_width=32, num_layers=1, num_heads=2, num_steps=3, batch_size=4, num_examples=4, lr=0.05
    )
    return train_demo_model(
        [("1+2=", "3;"), ("4+4=", "8")], tokenizer, settings, seed=0, on_step=lambda _: None
    )


def annotated(method: Method) -> list[Annotated]:
    """Four trajectories of two prompts, with what the method needs to know of them."""
    rng = torch.Generator().manual_seed(5)
    items = []
    for i, length in enumerate((7, 3, 5, 1)):
        ids = torch.randint(14, (length,), generator=rng).tolist()
        values = torch.rand(length, generator=rng).tolist()
        trajectory = Trajectory(
            id=f"t{i}", round=0, prompt_id=f"p{i // 2}", prompt="1+2=", prompt_ids=[1, 10, 2, 11][: 2 + i % 3],
            response="", response_ids=ids, finish_reason="stop", temperature=1.0, seed=i, student="w",
            entropies=values, logps=[-2.5 - value for value in values],
        )  # fmt: skip
        verdicts = []
        if "verdicts" in method.needs:
            verdicts = [verdict(method, trajectory, anchor) for anchor in method.anchors(trajectory)]
        items.append(Annotated(trajectory, verdicts, reward=float(i in (0, 2, 3))))
    return items


def verdict(method: Method, trajectory: Trajectory, anchor: int) -> Verdict:
    """What a teacher might have said there: some of its replies follow the student for a while."""
    audit = method.audit(shares_tokens=True)
    assert audit is not None
    num_replies, chunk_len = audit.num_replies, audit.chunk_len
    rng = random.Random(f"{trajectory.id}/{anchor}")
    chunk = trajectory.response_ids[anchor : anchor + chunk_len]
    reply_ids = []
    for _ in range(num_replies):
        same = rng.randrange(chunk_len + 1)
        reply = [*chunk[:same], *(rng.randrange(14) for _ in range(chunk_len - same))]
        reply_ids.append(reply[: rng.randrange(chunk_len + 1) if rng.random() < 0.3 else chunk_len])
    similarities = [rng.random() for _ in range(num_replies)]
    return Verdict(
        id=f"{trajectory.id}/{anchor}", trajectory_id=trajectory.id, anchor=anchor, chunk_len=chunk_len, chunk="1",
        teacher="t", mode="completion", num_replies=num_replies, replies=["1"] * num_replies,
        similarities=similarities, k_sem=sum(similarities), pi_bar=0.3, seed=0, prompt_tokens=1,
        completion_tokens=2, cost_usd=0.0, finish_reasons=["length"] * num_replies, reply_ids=reply_ids,
        boundary=False,
    )  # fmt: skip


def bare(items: list[Annotated]) -> list[Annotated]:
    """The same trajectories with nothing audited."""
    return [replace(item, verdicts=()) for item in items]


def scaled(model: PreTrainedModel, factor: float) -> PreTrainedModel:
    """A copy of the model in float64 whose weights are other ones."""
    other = copy.deepcopy(model).double()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(factor)
    return other


def logits_of(model: PreTrainedModel, batch: Batch) -> Tensor:
    """(N, V) that predict the response tokens."""
    return model(input_ids=batch.input_ids, use_cache=False).logits.flatten(0, 1)[batch.index]


def naive_scores(
    z: Tensor, ids: Tensor, *, ref: Tensor, teacher: Tensor, votes: Votes | None
) -> dict[Score, Tensor]:
    """Every score from whole logits, (N, V) each, by the plain functions."""
    scores: dict[Score, Tensor] = {
        "logp": F.token_logp(z, ids),
        "entropy": F.token_entropy(z),
        "ref_kl": F.forward_kl(ref, z),
        "kl_to_ref": F.reverse_kl(z, ref),
        "kl_to_teacher": F.reverse_kl(z, teacher),
        "teacher_logp": F.token_logp(teacher, ids),
    }
    if votes is not None:
        posterior = F.token_posterior(z, votes.ids, votes.counts, alpha=votes.alpha)
        scores["posterior_kl"] = F.reverse_kl(z, posterior)
        scores["centred_fork"] = F.centred_fork(z, votes.ids, votes.counts, alpha=votes.alpha)
    return scores


def scores_of(
    student: PreTrainedModel,
    batch: Batch,
    method: Method,
    *,
    reference: PreTrainedModel,
    teacher: PreTrainedModel,
) -> dict[Score, Tensor]:
    """What a method that needs everything is told of a batch."""
    with torch.no_grad():
        ref, own_teacher = logits_of(reference, batch), logits_of(teacher, batch)
    return naive_scores(
        logits_of(student, batch),
        batch.token_ids,
        ref=ref,
        teacher=own_teacher,
        votes=method.votes(batch.columns),
    )
