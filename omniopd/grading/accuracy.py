"""Accuracy on prompts with known answers, with a 95 % interval."""

import math
from collections.abc import Sequence
from dataclasses import replace

from omniopd.config import Evaluation
from omniopd.data.decoding import Decoding
from omniopd.data.prompts import Prompt
from omniopd.data.records import ItemResult
from omniopd.functional.seeds import stable_seed
from omniopd.grading.graders import Case, Grader, grade, grader_of
from omniopd.sampling.responses import Response, Writer, respond

WAYS = ("greedy", "sampled")  # of answering held-out prompts

Z_95 = 1.959964


def accuracy_of(results: Sequence[ItemResult]) -> float:
    """The share of graded responses that are right, one response per prompt."""
    return sum(result.is_right for result in results) / len(results)


def accuracy_record(results: Sequence[ItemResult]) -> dict[str, float | int | list[float]]:
    """The accuracy, its 95 % interval and its size, for JSON."""
    accuracy, size = accuracy_of(results), len(results)
    return {"accuracy": accuracy, "interval": list(wilson(accuracy, size, Z_95)), "num_prompts": size}


def wilson_interval(num_correct: int, num_prompts: int) -> tuple[float, float]:
    """Wilson's 95 % score interval of a share, which stays in [0, 1] and is valid at 0 and 1 (Wilson, 1927)."""
    return wilson(num_correct / num_prompts, num_prompts, Z_95)


def wilson(share: float, size: float, z: float) -> tuple[float, float]:
    """Wilson's interval of a share of `size` samples, not necessarily whole; z is the normal quantile."""
    centre = (share + z**2 / (2 * size)) / (1 + z**2 / size)
    half = z * math.sqrt(share * (1 - share) / size + z**2 / (4 * size**2)) / (1 + z**2 / size)
    return max(0.0, centre - half), min(1.0, centre + half)


def answered(
    writer: Writer,
    prompts: Sequence[Prompt],
    *,
    decoding: Decoding,
    max_new_tokens: int,
    settings: Evaluation,
    seed: int,
) -> list[ItemResult]:
    """One response per prompt, in order, graded by the grader of the settings.

    Raises:
        DataError: a prompt lacks the answer or tests that the grader needs.
    """
    responses = respond(
        writer,
        prompts,
        seeds=[[stable_seed("evaluate", seed, prompt.id)] for prompt in prompts],
        max_new_tokens=max_new_tokens,
        decoding=decoding,
        purpose="evaluation",
    )
    return graded(responses, grader_of(settings))


def graded(responses: Sequence[Response], grader: Grader) -> list[ItemResult]:
    """Responses with their grades as records, in order; see `grade`.

    Raises:
        DataError: a prompt lacks the answer or tests that the grader needs.
        ProcessError: the grader's processes cannot run on this machine.
    """
    cases = [Case(response.prompt, response.text, finished=response.is_finished) for response in responses]
    return [
        ItemResult(
            id=response.prompt.id,
            sample=response.number,
            prompt=response.prompt.prompt,
            response=response.text,
            answer=item_grade.answer,
            reference=response.prompt.answer,
            is_right=item_grade.is_right,
            reason=item_grade.reason,
            num_tokens=len(response.generation.token_ids),
            finish_reason=response.generation.finish_reason,
            seed=response.seed,
        )
        for response, item_grade in zip(responses, grade(cases, grader), strict=True)
    ]


def regraded(results: Sequence[ItemResult], prompts: Sequence[Prompt], grader: Grader) -> list[ItemResult]:
    """The same responses with new grades, in order; `prompts` include those of the responses."""
    by_id = {prompt.id: prompt for prompt in prompts}
    cases = [
        Case(by_id[result.id], result.response, finished=result.finish_reason == "stop") for result in results
    ]
    return [
        replace(result, answer=one.answer, is_right=one.is_right, reason=one.reason)
        for result, one in zip(results, grade(cases, grader), strict=True)
    ]
