"""Student rollouts, and their scores: the sampler's, or those of the trainer's forward pass."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from omniopd.data.decoding import Decoding
from omniopd.data.prompts import Prompt
from omniopd.data.records import Trajectory, history_text, trajectory_id
from omniopd.data.rows import Row
from omniopd.errors import RunError
from omniopd.functional.seeds import stable_seed
from omniopd.models.scoring import score
from omniopd.sampling.responses import Writer, respond
from omniopd.sampling.samplers import Student, batches

T = TypeVar("T")


def shard(items: Sequence[T], index: int, *, num_shards: int, batch_size: int) -> Sequence[T]:
    """The items of one shard: consecutive whole batches. The shards in order are all the items.

    Rounding depends on a sequence's batch, so batches are the same for every num_shards.
    """
    num_batches = -(-len(items) // batch_size)
    first = num_batches * index // num_shards * batch_size
    last = num_batches * (index + 1) // num_shards * batch_size
    return items[first:last]


def rollouts(
    writer: Writer,
    prompts: Sequence[Prompt],
    *,
    round_: int,
    num_samples: int,
    max_new_tokens: int,
    decoding: Decoding,
    seed: int,
    staleness: int = 0,
) -> list[Trajectory]:
    """num_samples responses to each prompt; `entropies` and `logps` are the sampler's, empty if it has none.

    `staleness` is the number of rounds between the weights that write and those that are trained on the responses.

    Raises:
        RunError: a response was sampled with other weights than the student's, or its scores are not finite.
    """
    responses = respond(
        writer,
        prompts,
        seeds=[
            [stable_seed("rollout", seed, round_, prompt.id, n) for n in range(num_samples)]
            for prompt in prompts
        ],
        max_new_tokens=max_new_tokens,
        decoding=decoding,
        purpose=f"round {round_}",
    )
    trajectories = [
        Trajectory(
            id=trajectory_id(round_, response.prompt.id, response.number),
            round=round_,
            prompt_id=response.prompt.id,
            prompt=response.prompt.prompt,
            prompt_ids=response.prompt_ids,
            response=response.text,
            response_ids=response.generation.token_ids,
            finish_reason=response.generation.finish_reason,
            temperature=decoding.temperature,
            seed=response.seed,
            student=writer.weights,
            entropies=response.generation.entropies,
            logps=response.generation.logps,
            staleness=staleness,
            history=history_text(response.prompt.history),
        )
        for response in responses
    ]
    for trajectory in trajectories:
        _check_finite(trajectory)
    return trajectories


def scored(student: Student, trajectories: Sequence[Trajectory], *, batch_size: int) -> list[Trajectory]:
    """The trajectories with exact entropies and log-probabilities under the student's weights.

    Raises:
        RunError: they are not finite; no teacher has been asked about them yet.
    """
    result = []
    for group in batches(trajectories, batch_size):
        rows = [Row(item.id, item.prompt_ids, item.response_ids) for item in group]
        for item, (entropies, logps) in zip(group, score(student.model, rows), strict=True):
            result.append(replace(item, entropies=entropies, logps=logps))
            _check_finite(result[-1])
    return result


def _check_finite(trajectory: Trajectory) -> None:
    if not all(map(math.isfinite, [*trajectory.entropies, *trajectory.logps])):
        raise RunError(
            f"round {trajectory.round}: the student's distributions over response {trajectory.id} are not finite, so "
            "it cannot be trained on; lower train.lr, set train.precision: float32, or inspect the model, and start "
            "the run again"
        )
