"""Accuracy on prompts with known answers, with a 95 % interval."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from omniopd.config import Evaluation
from omniopd.data.prompts import Prompt
from omniopd.data.records import Reward, Trajectory
from omniopd.errors import DataError
from omniopd.functional.seeds import stable_seed
from omniopd.models.generation import generate
from omniopd.models.loading import encode_prompt, end_token
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
    share, z2 = num_correct / num_prompts, Z_95**2
    centre = (share + z2 / (2 * num_prompts)) / (1 + z2 / num_prompts)
    spread = math.sqrt(share * (1 - share) / num_prompts + z2 / (4 * num_prompts**2))
    half = Z_95 * spread / (1 + z2 / num_prompts)
    return max(0.0, centre - half), min(1.0, centre + half)


def answer_of(response: str, pattern: str) -> str | None:
    """The first group of the last match of the pattern, or None."""
    matches = list(re.finditer(pattern, response))
    return matches[-1].group(1) if matches else None


def reward_of(trajectory: Trajectory, prompt: Prompt, pattern: str) -> Reward:
    """1 where the response gives the prompt's answer to the character, else 0. One cut at the limit is wrong.

    Raises:
        DataError: the prompt has no answer to compare with.
    """
    answer = answer_of(trajectory.response, pattern)
    is_right = _is_right(prompt, answer, finished=trajectory.finish_reason == "stop")
    return Reward(trajectory.id, answer, float(is_right))


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
    """Accuracy of one response a prompt; temperature 0 is greedy. A response cut at the limit is wrong.

    Raises:
        DataError: a prompt has no answer to compare with.
    """
    decoder = TextDecoder(tokenizer)
    num_correct = 0
    for first in range(0, len(prompts), settings.batch_size):
        group = prompts[first : first + settings.batch_size]
        samples = generate(
            model,
            [encode_prompt(tokenizer, prompt.prompt) for prompt in group],
            seeds=[[stable_seed("evaluate", seed, prompt.id)] for prompt in group],
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            end_id=end_token(tokenizer),
        )
        for prompt, (sample,) in zip(group, samples, strict=True):
            answer = answer_of(decoder.text(sample.token_ids), settings.answer_pattern)
            num_correct += _is_right(prompt, answer, finished=sample.finish_reason == "stop")
    return Accuracy(num_correct, len(prompts))


def _is_right(prompt: Prompt, answer: str | None, *, finished: bool) -> bool:
    if prompt.answer is None:
        raise DataError(f"prompt {prompt.id!r} has no answer to measure with; give it an 'answer'")
    return finished and answer == prompt.answer
