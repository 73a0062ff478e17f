"""Accuracy on prompts with known answers, with a 95 % interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from omniopd.config import Evaluation
from omniopd.data.prompts import Prompt
from omniopd.data.records import ItemResult
from omniopd.functional.seeds import stable_seed
from omniopd.grading.graders import Case, grade
from omniopd.models.generation import Generation, generate
from omniopd.models.loading import encode_prompts, end_token
from omniopd.models.text import TextDecoder

Z_95 = 1.959964


@dataclass(frozen=True)
class Accuracy:
    """How many of the prompts were answered rightly, one response each.

    >>> Accuracy(num_correct=400, num_prompts=1000).share
    0.4
    """

    num_correct: int
    num_prompts: int

    @property
    def share(self) -> float:
        return self.num_correct / self.num_prompts

    def as_record(self) -> dict[str, float | int | list[float]]:
        """The accuracy, its 95 % interval and its size, for JSON."""
        low, high = wilson_interval(self.num_correct, self.num_prompts)
        return {"accuracy": self.share, "interval": [low, high], "num_prompts": self.num_prompts}


def wilson_interval(num_correct: int, num_prompts: int) -> tuple[float, float]:
    """Wilson's 95 % score interval of a share: it stays in [0, 1] and holds at 0 and 1 (Wilson, 1927)."""
    return wilson(num_correct / num_prompts, num_prompts, Z_95)


def wilson(share: float, size: float, z: float) -> tuple[float, float]:
    """Wilson's interval of a share of so many samples, which need be no whole number; z is the quantile."""
    centre = (share + z**2 / (2 * size)) / (1 + z**2 / size)
    half = z * math.sqrt(share * (1 - share) / size + z**2 / (4 * size**2)) / (1 + z**2 / size)
    return max(0.0, centre - half), min(1.0, centre + half)


def measure(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    temperature: float,
    max_new_tokens: int,
    settings: Evaluation,
    seed: int,
) -> Accuracy:
    """Accuracy of one response a prompt, by the grader of the settings; temperature 0 is greedy.

    Raises:
        DataError: a prompt has nothing to compare with.
    """
    return accuracy_of(
        answered(
            model, tokenizer, prompts, temperature=temperature, max_new_tokens=max_new_tokens, settings=settings,
            seed=seed,
        )
    )  # fmt: skip


def accuracy_of(results: Sequence[ItemResult]) -> Accuracy:
    """How many of the responses are right."""
    return Accuracy(sum(result.is_right for result in results), len(results))


def answered(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    temperature: float,
    max_new_tokens: int,
    settings: Evaluation,
    seed: int,
) -> list[ItemResult]:
    """One response a prompt with its grade, in the order of the prompts; as `measure` writes and grades them.

    Raises:
        DataError: a prompt has nothing to compare with.
    """
    decoder = TextDecoder(tokenizer)
    seeds = [stable_seed("evaluate", seed, prompt.id) for prompt in prompts]
    samples: list[Generation] = []
    for first in range(0, len(prompts), settings.batch_size):
        group = slice(first, first + settings.batch_size)
        written = generate(
            model,
            encode_prompts(tokenizer, [prompt.prompt for prompt in prompts[group]]),
            seeds=[[own] for own in seeds[group]],
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            end_id=end_token(tokenizer),
        )
        samples += [sample for (sample,) in written]
    cases = [
        Case(prompt, decoder.text(sample.token_ids), finished=sample.finish_reason == "stop")
        for prompt, sample in zip(prompts, samples, strict=True)
    ]
    grades = grade(cases, settings.grader, pattern=settings.answer_pattern)
    return [
        ItemResult(
            id=case.prompt.id,
            sample=0,
            prompt=case.prompt.prompt,
            response=case.response,
            answer=found.answer,
            reference=case.prompt.answer,
            is_right=found.is_right,
            reason=found.reason,
            num_tokens=len(sample.token_ids),
            finish_reason=sample.finish_reason,
            seed=own,
        )
        for case, sample, found, own in zip(cases, samples, grades, seeds, strict=True)
    ]
