"""Samplers of a student's responses: the model in this process, or an engine with its weights."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from transformers import PreTrainedModel

from omniopd.data.decoding import Decoding
from omniopd.errors import ConfigError
from omniopd.models.chat import Chat, excluded_ids
from omniopd.models.generation import Generation, generate

if TYPE_CHECKING:
    from omniopd.sampling.vllm_student import VllmStudent

T = TypeVar("T")


@dataclass(frozen=True)
class Student:
    """A model, its chat, and the digest of its weights."""

    model: PreTrainedModel
    chat: Chat
    digest: str


@dataclass(frozen=True)
class Sample:
    """A generation, and the digest of the weights that wrote it, according to the sampler.

    >>> Sample(Generation([5, 10, 16], "stop"), "9f2c").weights
    '9f2c'
    """

    generation: Generation
    weights: str


class Sampler(Protocol):
    def sample(
        self,
        prompts: Sequence[list[int]],
        *,
        seeds: Sequence[Sequence[int]],
        max_new_tokens: int,
        decoding: Decoding,
        stop_ids: Sequence[int],
    ) -> list[list[Sample]]:
        """len(seeds[i]) samples after each prompt i, the same number for each."""
        ...


class InProcessSampler:
    """The student's own model, in fixed batches of batch_size samples.

    A batch has all samples of a prompt, unless those are more than batch_size. scores: return exact entropies and
    log-probabilities with the samples.
    """

    def __init__(self, student: Student, *, batch_size: int, scores: bool = False):
        self._student = student
        self._batch_size = batch_size
        self._scores = scores

    def sample(
        self,
        prompts: Sequence[list[int]],
        *,
        seeds: Sequence[Sequence[int]],
        max_new_tokens: int,
        decoding: Decoding,
        stop_ids: Sequence[int],
    ) -> list[list[Sample]]:
        chat, config = self._student.chat, self._student.model.config.get_text_config()
        strings = chat.stop_strings(decoding.stop) if decoding.stop else None
        excluded = excluded_ids(chat.tokenizer, config.vocab_size)
        samples: list[list[Sample]] = [[] for _ in prompts]
        for numbers in batches(range(len(seeds[0]) if seeds else 0), self._batch_size):
            for group in batches(range(len(prompts)), self._batch_size // len(numbers)):
                generations = generate(
                    self._student.model,
                    [prompts[i] for i in group],
                    seeds=[[seeds[i][n] for n in numbers] for i in group],
                    max_new_tokens=max_new_tokens,
                    decoding=decoding,
                    stop_ids=stop_ids,
                    strings=strings,
                    excluded=excluded,
                    scored=self._scores,
                )
                for i, prompt_generations in zip(group, generations, strict=True):
                    samples[i] += [Sample(item, self._student.digest) for item in prompt_generations]
        return samples


def vllm_student() -> "type[VllmStudent]":
    """`VllmStudent`, imported when used: vLLM is optional.

    Raises:
        ConfigError: vLLM cannot be imported.
    """
    try:
        from omniopd.sampling.vllm_student import VllmStudent
    except ImportError as error:
        raise ConfigError(
            f"rollout.engine: vllm cannot be imported ({error}); install vllm 0.32, or take transformers"
        ) from error
    return VllmStudent


def batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items in runs of `size`, in order; the last may be shorter."""
    for first in range(0, len(items), size):
        yield items[first : first + size]
