"""Student rollouts on transformers, and their scores from the trainer's forward pass."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from omniopd.data.prompts import Prompt
from omniopd.data.records import Trajectory, trajectory_id
from omniopd.data.rows import Row
from omniopd.functional.seeds import stable_seed
from omniopd.models.generation import generate
from omniopd.models.loading import encode_prompt, end_token
from omniopd.models.scoring import score
from omniopd.models.text import TextDecoder

T = TypeVar("T")


@dataclass(frozen=True)
class Student:
    """A model, its tokenizer, and the digest of the weights that it holds."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    digest: str


def batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items in runs of `size`, in order; the last may be shorter."""
    for first in range(0, len(items), size):
        yield items[first : first + size]


def shard(items: Sequence[T], index: int, *, num_shards: int, batch_size: int) -> Sequence[T]:
    """The items of one shard: a run of whole batches. The shards in order are all the items.

    Rounding depends on the batch a sequence sits in, so batches are the same for every num_shards.
    """
    num_batches = -(-len(items) // batch_size)
    first = num_batches * index // num_shards * batch_size
    last = num_batches * (index + 1) // num_shards * batch_size
    return items[first:last]


def rollouts(
    student: Student,
    prompts: Sequence[Prompt],
    *,
    round_: int,
    num_samples: int,
    max_new_tokens: int,
    temperature: float,
    batch_size: int,
    seed: int,
) -> list[Trajectory]:
    """num_samples responses to each prompt, not yet scored: `entropies` and `logps` are empty.

    batch_size counts responses, and a prompt's responses are never parted.
    """
    decoder = TextDecoder(student.tokenizer)
    trajectories = []
    for group in batches(prompts, batch_size // num_samples):
        prompt_ids = [encode_prompt(student.tokenizer, prompt.prompt) for prompt in group]
        seeds = [
            [stable_seed("rollout", seed, round_, prompt.id, n) for n in range(num_samples)]
            for prompt in group
        ]
        samples = generate(
            student.model,
            prompt_ids,
            seeds=seeds,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            end_id=end_token(student.tokenizer),
        )
        for prompt, ids, own_seeds, own in zip(group, prompt_ids, seeds, samples, strict=True):
            for n, (own_seed, sample) in enumerate(zip(own_seeds, own, strict=True)):
                trajectories.append(
                    Trajectory(
                        id=trajectory_id(round_, prompt.id, n),
                        round=round_,
                        prompt_id=prompt.id,
                        prompt=prompt.prompt,
                        prompt_ids=ids,
                        response=decoder.text(sample.token_ids),
                        response_ids=sample.token_ids,
                        finish_reason=sample.finish_reason,
                        temperature=temperature,
                        seed=own_seed,
                        student=student.digest,
                        entropies=[],
                        logps=[],
                    )
                )
    return trajectories


def scored(student: Student, trajectories: Sequence[Trajectory], *, batch_size: int) -> list[Trajectory]:
    """The trajectories with exact entropies and log-probabilities under the student's weights."""
    result = []
    for group in batches(trajectories, batch_size):
        rows = [Row(item.id, item.prompt_ids, item.response_ids) for item in group]
        for item, (entropies, logps) in zip(group, score(student.model, rows), strict=True):
            result.append(replace(item, entropies=entropies, logps=logps))
    return result
