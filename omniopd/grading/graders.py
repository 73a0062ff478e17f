"""Graders decide which responses are right. `evaluation.grader` names that of rewards, accuracy and benchmarks."""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, cast, get_args

from omniopd.config import Evaluation, imported
from omniopd.data.prompts import Prompt, Reference
from omniopd.data.records import Reward, Trajectory
from omniopd.errors import ConfigError, DataError, ProcessError
from omniopd.grading.code.grader import CodeCase, grade_programs
from omniopd.grading.grade import CUT, Grade, not_graded
from omniopd.grading.math.grader import MathCase, grade_math
from omniopd.grading.thoughts import without_thought

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Case:
    """A response to a prompt, and whether it ended before the token limit.

    >>> Case(Prompt("p", "40+2=", "42"), ";>42", finished=True).prompt.answer
    '42'
    """

    prompt: Prompt
    response: str
    finished: bool


class Grader(Protocol):
    """Decides which responses are right. `evaluation.grader: package.module:Class` names one of your own."""

    needs: ClassVar[Reference]
    """The field that a prompt needs to be graded: `answer` or `tests`."""

    def grade(self, cases: Sequence[Case]) -> list[Grade]:
        """The grade of each response, in order. Every prompt has the field in `needs`."""
        ...


@dataclass(frozen=True)
class PatternGrader:
    """The first group of the pattern's last match is the answer; it must equal the reference exactly."""

    pattern: str
    needs: ClassVar[Reference] = "answer"

    def grade(self, cases: Sequence[Case]) -> list[Grade]:
        return [self._grade(case) for case in cases]

    def _grade(self, case: Case) -> Grade:
        answer = answer_of(case.response, self.pattern)
        if not case.finished:
            return Grade(False, answer, CUT)
        if answer is None:
            return Grade(False, None, "no answer")
        return Grade(True, answer) if answer == case.prompt.answer else Grade(False, answer, "another answer")


def answer_of(response: str, pattern: str) -> str | None:
    """The first group of the last match of the pattern, or None.

    Only the text after a thought (`<think>...</think>`) is searched, unless the pattern itself names the tag.
    """
    text = response if "think" in pattern else without_thought(response)
    matches = list(re.finditer(pattern, text))
    return matches[-1].group(1) if matches else None


class MathGrader:
    """The final answer must equal the reference in value."""

    needs: ClassVar[Reference] = "answer"

    def grade(self, cases: Sequence[Case]) -> list[Grade]:
        return grade_math(
            [MathCase(case.response, case.prompt.answer or "", finished=case.finished) for case in cases]
        )


class CodeGrader:
    """The program must pass the prompt's tests, in a sandbox."""

    needs: ClassVar[Reference] = "tests"

    def grade(self, cases: Sequence[Case]) -> list[Grade]:
        finished = [case for case in cases if case.finished]
        programs = [CodeCase(case.response, case.prompt.prompt, case.prompt.tests or "") for case in finished]
        grades = iter(grade_programs(programs))
        return [next(grades) if case.finished else Grade(False, None, CUT) for case in cases]


def grader_of(settings: Evaluation, *, place: str = "evaluation.grader") -> Grader:
    """The grader that the settings name; `place` begins the messages.

    Raises:
        ConfigError: there is no such class, or it is not a grader.
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
        raise ConfigError(f"{place}: {error}") from error
    if getattr(grader, "needs", None) not in get_args(Reference):
        raise ConfigError(
            f'{place}: {settings.grader} does not say what it needs; write needs = "answer" or "tests"'
        )
    return grader


def grade(cases: Sequence[Case], grader: Grader) -> list[Grade]:
    """The grade of each response, in order.

    A response that was cut at the token limit is wrong, whatever its content; so is one on which the grader fails,
    which is logged with its prompt.

    Raises:
        ConfigError: a custom grader returned too few or too many grades.
        DataError: a prompt lacks the answer or tests that the grader needs.
        ProcessError: the grader's processes cannot run on this machine.
    """
    needs = grader.needs
    for prompt in (case.prompt for case in cases):
        if not prompt.has(needs):
            raise DataError(
                f"prompt {prompt.id!r} has no {needs} to measure with; give it {needs} (prompts.columns.{needs}), or "
                "take another evaluation.grader"
            )
    grades = _graded(cases, grader.grade)
    if len(grades) != len(cases):
        raise ConfigError(
            f"evaluation.grader: {type(grader).__name__} gave {len(grades)} grades for {len(cases)} responses; "
            "give one for each"
        )
    grades = [
        Grade(False, one.answer, CUT) if one.is_right and not case.finished else one
        for case, one in zip(cases, grades, strict=True)
    ]
    failed = [(case.prompt.id, one.reason) for case, one in zip(cases, grades, strict=True) if one.failure]
    if failed:
        examples = "; ".join(f"prompt {id_!r}: {reason}" for id_, reason in failed[:5])
        log.warning(
            "%d of %d responses could not be graded and count as wrong: %s", len(failed), len(cases), examples
        )
    return grades


def _graded(cases: Sequence[Case], grade_all: Callable[[Sequence[Case]], list[Grade]]) -> list[Grade]:
    """The grades by `grade_all`; a response on which it fails is wrong, and the others are graded without it."""
    if not cases:
        return []
    try:
        return grade_all(cases)
    except (DataError, ProcessError):
        raise  # an error of the prompts or the machine, not of one response
    except Exception as error:  # a boundary: responses are hostile, and one must not end a batch
        if len(cases) == 1:
            return [not_graded(error)]
        middle = len(cases) // 2
        return _graded(cases[:middle], grade_all) + _graded(cases[middle:], grade_all)


def rewards(trajectories: Sequence[Trajectory], prompts: Sequence[Prompt], grader: Grader) -> list[Reward]:
    """1 for each response that is right, else 0, in order; `prompts` include those of the responses.

    Raises:
        DataError: a prompt lacks the answer or tests that the grader needs.
    """
    by_id = {prompt.id: prompt for prompt in prompts}
    cases = [
        Case(by_id[item.prompt_id], item.response, finished=item.finish_reason == "stop")
        for item in trajectories
    ]
    grades = grade(cases, grader)
    return [
        Reward(item.id, one.answer, float(one.is_right), one.failure)
        for item, one in zip(trajectories, grades, strict=True)
    ]
