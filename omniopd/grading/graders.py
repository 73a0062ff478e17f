"""Graders: which responses are right. `evaluation.grader` names one, for rewards, accuracy and benchmarks alike."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, cast, get_args

from omniopd.config import Evaluation, imported
from omniopd.data.prompts import Prompt, Reference
from omniopd.data.records import Reward, Trajectory
from omniopd.errors import ConfigError, DataError, ProcessError
from omniopd.grading.grade import CUT, Grade, not_graded
from omniopd.grading.pattern import grade_pattern

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


class Grader(Protocol):
    """Says which responses are right. `evaluation.grader: package.module:Class` names one of your own."""

    needs: ClassVar[Reference]
    """What a prompt must have to be graded: `answer` or `tests`."""

    def grade(self, cases: Sequence[Case]) -> list[Grade]:
        """The grade of each response, in order. Every prompt has what is needed."""
        ...


@dataclass(frozen=True)
class PatternGrader:
    """The first group of the pattern's last match is the answer, compared to the character."""

    pattern: str
    needs: ClassVar[Reference] = "answer"

    def grade(self, cases: Sequence[Case]) -> list[Grade]:
        """See `Grader`."""
        return [
            grade_pattern(case.response, case.prompt.answer or "", self.pattern, finished=case.finished)
            for case in cases
        ]


class MathGrader:
    """The final answer is equal in value to the reference."""

    needs: ClassVar[Reference] = "answer"

    def grade(self, cases: Sequence[Case]) -> list[Grade]:
        """See `Grader`."""
        from omniopd.grading.math.grader import MathCase, grade_math  # sympy takes a second to import

        return grade_math(
            [MathCase(case.response, case.prompt.answer or "", finished=case.finished) for case in cases]
        )


class CodeGrader:
    """The program passes the tests of the prompt, in a sandbox."""

    needs: ClassVar[Reference] = "tests"

    def grade(self, cases: Sequence[Case]) -> list[Grade]:
        """See `Grader`."""
        from omniopd.grading.code.grader import CodeCase, grade_programs

        whole = [case for case in cases if case.finished]
        programs = [CodeCase(case.response, case.prompt.prompt, case.prompt.tests or "") for case in whole]
        grades = iter(grade_programs(programs))
        return [next(grades) if case.finished else Grade(False, None, CUT) for case in cases]


def grader_of(settings: Evaluation) -> Grader:
    """The grader that params name.

    Raises:
        ConfigError: there is no such class, or it is no grader.
    """
    match settings.grader:
        case "pattern":
            assert settings.answer_pattern is not None, "params were checked"
            return PatternGrader(settings.answer_pattern)
        case "math":
            return MathGrader()
        case "code":
            return CodeGrader()
    try:
        grader = cast(Callable[[], Grader], imported(settings.grader))()
    except (ConfigError, TypeError) as error:
        raise ConfigError(f"evaluation.grader: {error}") from error
    if getattr(grader, "needs", None) not in get_args(Reference):
        raise ConfigError(
            f'evaluation.grader: {settings.grader} does not say what it needs; write needs = "answer" or "tests"'
        )
    return grader


def grade(cases: Sequence[Case], grader: Grader) -> list[Grade]:
    """The grade of each response, in order.

    A response that was cut at the limit is wrong, whatever it holds; so is one on which the grader fails, which is
    logged with its prompt.

    Raises:
        ConfigError: a grader of the user's own gave too few grades, or too many.
        DataError: a prompt has nothing that the grader could compare with.
        ProcessError: the grader's processes cannot run on this machine.
    """
    for case in cases:
        check_gradable(case.prompt, grader)
    grades = _graded(cases, grader.grade)
    if len(grades) != len(cases):
        raise ConfigError(
            f"evaluation.grader: {type(grader).__name__} gave {len(grades)} grades for {len(cases)} responses; "
            "give one for each"
        )
    grades = [
        Grade(False, found.answer, CUT) if found.is_right and not case.finished else found
        for case, found in zip(cases, grades, strict=True)
    ]
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


def rewards(trajectories: Sequence[Trajectory], prompts: Sequence[Prompt], grader: Grader) -> list[Reward]:
    """1 for each response that is right, 0 for the others, in order; `prompts` are those that the responses answer.

    Raises:
        DataError: a prompt has nothing to compare with.
    """
    by_id = {prompt.id: prompt for prompt in prompts}
    cases = [
        Case(by_id[item.prompt_id], item.response, finished=item.finish_reason == "stop")
        for item in trajectories
    ]
    grades = grade(cases, grader)
    return [
        Reward(item.id, found.answer, float(found.is_right), found.failure)
        for item, found in zip(trajectories, grades, strict=True)
    ]


def check_gradable(prompt: Prompt, grader: Grader) -> None:
    """Raise where it is not known what a right response would be.

    Raises:
        DataError: the prompt has no answer or tests, whichever the grader needs.
    """
    if not prompt.has(grader.needs):
        raise DataError(
            f"prompt {prompt.id!r} has no {grader.needs} to measure with; give it {grader.needs} "
            f"(prompts.columns.{grader.needs}), or take another evaluation.grader"
        )
