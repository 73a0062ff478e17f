"""Responses graded by what `evaluation.grader` names: one way for rewards, for accuracy and for benchmarks."""

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from omniopd.config import Evaluation, Grader
from omniopd.data.prompts import Prompt
from omniopd.data.records import ItemResult, Reward, Trajectory
from omniopd.errors import DataError, ProcessError
from omniopd.grading.grade import Grade, not_graded
from omniopd.grading.pattern import grade_pattern
from omniopd.sampling.responses import Response

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Case:
    """A response to a prompt, and whether it came to its end before the limit of tokens.

    >>> Case(Prompt("p", "40+2=", "42"), ";>42", finished=True).prompt.answer
    '42'
    """

    prompt: Prompt
    response: str
    finished: bool


def grade(cases: Sequence[Case], grader: Grader, *, pattern: str | None = None) -> list[Grade]:
    """The grade of each response, in order; `pattern` is that of the grader of the same name.

    A response that was cut at the limit is wrong, whatever stands in it; so is one on which the grader fails, which is
    logged with its prompt.

    Raises:
        DataError: a prompt has nothing that the grader could compare with.
        ProcessError: the grader's processes cannot run on this machine.
    """
    for case in cases:
        check_gradable(case.prompt, grader)
    grades = _graded(cases, functools.partial(_grade, grader=grader, pattern=pattern))
    failed = [(case, found) for case, found in zip(cases, grades, strict=True) if found.failure]
    if failed:
        examples = "; ".join(f"prompt {case.prompt.id!r}: {found.reason}" for case, found in failed[:5])
        log.warning(
            "%d of %d responses could not be graded and count as wrong: %s", len(failed), len(cases), examples
        )
    return grades


def _graded(cases: Sequence[Case], grade_all: Callable[[Sequence[Case]], list[Grade]]) -> list[Grade]:
    """What `grade_all` finds; a response on which it fails is wrong, and the others are graded without it."""
    if not cases:
        return []
    try:
        return grade_all(cases)
    except (DataError, ProcessError):
        raise  # of the prompts or the machine, not of one response
    except Exception as error:  # a boundary: responses are hostile, and one must not end a batch
        if len(cases) == 1:
            return [not_graded(error)]
        middle = len(cases) // 2
        return _graded(cases[:middle], grade_all) + _graded(cases[middle:], grade_all)


def _grade(cases: Sequence[Case], *, grader: Grader, pattern: str | None) -> list[Grade]:
    if grader == "math":
        from omniopd.grading.math.grader import MathCase, grade_math  # sympy takes a second to import

        return grade_math(
            [MathCase(case.response, _answer(case.prompt), finished=case.finished) for case in cases]
        )
    if grader == "code":
        from omniopd.grading.code.grader import CodeCase, grade_programs

        whole = [case for case in cases if case.finished]
        found = iter(
            grade_programs(
                [CodeCase(case.response, case.prompt.prompt, case.prompt.tests or "") for case in whole]
            )
        )
        return [next(found) if case.finished else Grade(False, None, "cut at the limit") for case in cases]
    assert pattern is not None, "params were checked"
    return [
        grade_pattern(case.response, _answer(case.prompt), pattern, finished=case.finished) for case in cases
    ]


def graded(responses: Sequence[Response], grader: Grader, *, pattern: str | None = None) -> list[ItemResult]:
    """Responses as records with their grades, in order; graded as `grade` does.

    Raises:
        DataError: a prompt has nothing that the grader could compare with.
        ProcessError: the grader's processes cannot run on this machine.
    """
    cases = [Case(response.prompt, response.text, finished=response.is_finished) for response in responses]
    return [
        ItemResult(
            id=response.prompt.id,
            sample=response.number,
            prompt=response.prompt.prompt,
            response=response.text,
            answer=grade_.answer,
            reference=response.prompt.answer,
            is_right=grade_.is_right,
            reason=grade_.reason,
            num_tokens=len(response.generation.token_ids),
            finish_reason=response.generation.finish_reason,
            seed=response.seed,
        )
        for response, grade_ in zip(responses, grade(cases, grader, pattern=pattern), strict=True)
    ]


def rewards(
    trajectories: Sequence[Trajectory], prompts: Sequence[Prompt], settings: Evaluation
) -> list[Reward]:
    """1 for each response that is right, 0 for the others, in order; `prompts` are those that the responses answer.

    Raises:
        DataError: a prompt has nothing to compare with.
    """
    by_id = {prompt.id: prompt for prompt in prompts}
    cases = [
        Case(by_id[item.prompt_id], item.response, finished=item.finish_reason == "stop")
        for item in trajectories
    ]
    grades = grade(cases, settings.grader, pattern=settings.answer_pattern)
    return [
        Reward(item.id, found.answer, float(found.is_right), found.failure)
        for item, found in zip(trajectories, grades, strict=True)
    ]


def check_gradable(prompt: Prompt, grader: Grader) -> None:
    """Raise where it is not known what a right response would be.

    Raises:
        DataError: the prompt has no answer, or for `code` no tests.
    """
    if not prompt.can_be_measured(by_tests=grader == "code"):
        what = "tests" if grader == "code" else "answer"
        raise DataError(
            f"prompt {prompt.id!r} has no {what} to measure with; give it {what} (prompts.columns.{what}), or take "
            f"another evaluation.grader than {grader}"
        )


def _answer(prompt: Prompt) -> str:
    assert prompt.answer is not None, "it was checked"
    return prompt.answer
