"""Shared by the methods that audit chunks of a response."""

import random
from typing import Literal

from omniopd import functional as F
from omniopd.data.records import Trajectory
from omniopd.functional.seeds import stable_seed
from omniopd.methods.base import Plan

Selection = Literal["peak_entropy", "random", "uniform"]


def choose_anchors(
    selection: Selection, trajectory: Trajectory, *, num_chunks: int, chunk_len: int
) -> list[int]:
    """The anchors of a trajectory, ascending; random ones are seeded by the trajectory."""
    response_len = len(trajectory.response_ids)
    size = {"num_chunks": num_chunks, "chunk_len": chunk_len}
    match selection:
        case "peak_entropy":
            return F.peak_entropy(trajectory.entropies, **size)
        case "random":
            rng = random.Random(stable_seed("anchors", trajectory.id, trajectory.seed))
            return F.random_anchors(response_len, **size, rng=rng)
        case "uniform":
            return F.uniform_stride(response_len, **size)


def longer_than_responses(chunk_len: int, plan: Plan) -> list[str]:
    """A problem if chunks are longer than the longest response."""
    if chunk_len <= plan.max_new_tokens:
        return []
    return [
        f"chunk_len is {chunk_len}, longer than the longest response "
        f"(rollout.max_new_tokens is {plan.max_new_tokens}), so nothing would be audited; "
        "make chunks shorter or responses longer"
    ]
