"""Grading of programs: each runs in a sandbox with the tests of its prompt."""

import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial

from omniopd.errors import DataError, ProcessError
from omniopd.grading.code.prelude import prelude_of
from omniopd.grading.code.programs import program_of
from omniopd.grading.code.sandbox import SANDBOX_FAILED, Limits, Outcome, mode_of_this_machine, run_program
from omniopd.grading.code.sandbox.records import exceeded
from omniopd.grading.code.tests_of_programs import Suite, suite_of
from omniopd.grading.grade import GRADER_ERROR, Grade, not_graded

__all__ = ["CodeCase", "grade_programs", "program_of"]

DEFAULT_LIMITS = Limits()
_TRACEBACK = "Traceback (most recent call last):"
_EXCEPTION = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*)(?::|$)")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,9})?", re.ASCII)


@dataclass(frozen=True)
class CodeCase:
    """A response to grade, its prompt, and the prompt's tests (`Prompt.tests`).

    >>> CodeCase("```python\\ndef one(): return 1\\n```", prompt="Write one().", tests="assert one() == 1").tests
    'assert one() == 1'
    """

    response: str
    prompt: str
    tests: str


def grade_programs(
    cases: Sequence[CodeCase], *, limits: Limits = DEFAULT_LIMITS, num_processes: int | None = None
) -> list[Grade]:
    """The grade of each case, in order; its answer is the program that was run.

    A program is right if all its tests pass and run to their end. A response on which the grader itself fails is wrong,
    with the error as its reason; the others are graded as usual. `num_processes` programs run at once (default: one
    per processor). Limits apply to each run of a program: one per pair of input and output, one for all other tests.

    Raises:
        DataError: tests cannot be read; the message names the case by its index.
        ProcessError: programs cannot be run on this machine.
    """
    suites = []
    for index, case in enumerate(cases):
        try:
            suites.append(suite_of(case.tests, case.prompt))
        except DataError as error:
            raise DataError(f"case {index}: {error}") from None
    if not cases:
        return []
    mode_of_this_machine()  # determined once, before there are threads
    with ThreadPoolExecutor(num_processes or os.cpu_count() or 1) as threads:
        return list(threads.map(partial(_grade, limits=limits), cases, suites))


def _grade(case: CodeCase, suite: Suite, limits: Limits) -> Grade:
    """The grade, whatever goes wrong with this one response; a ProcessError if no program can be run any more."""
    try:
        program = program_of(case.response, case.prompt, suite.asked)
        if program is None:
            return Grade(False, None, "no program")
        reason = _reason(program, suite, limits)
    except ProcessError:
        raise
    except Exception as error:  # a boundary: responses are hostile, and one must not end a batch
        return not_graded(error)
    if reason == SANDBOX_FAILED:
        reason = f"{GRADER_ERROR}{reason}"
    return Grade(not reason, program, reason)


def _reason(program: str, suite: Suite, limits: Limits) -> str:
    """The first reason why the program is wrong; empty if it is right."""
    # Without the prelude, the prompt's head may still use `List` in its annotations without an import.
    lent = prelude_of(suite.tests.context if suite.tests and not suite.has_prelude else program)
    if suite.tests:
        outcome = run_program(program, limits=limits, tests=suite.tests, lent=lent)
        if not outcome.passed:
            return outcome.reason
    for pair in suite.pairs:
        output_bytes = limits.output_bytes + 2 * len(pair.stdout.encode("utf-8", "replace"))
        roomy = replace(limits, output_bytes=output_bytes)
        outcome = run_program(program, stdin=pair.stdin, limits=roomy, lent=lent, exit_is_success=True)
        if reason := _reason_of_pair(outcome, pair.stdout):
            return reason
    return ""


def _reason_of_pair(outcome: Outcome, expected: str) -> str:
    if outcome.reason:
        return outcome.reason
    if outcome.limit:
        return exceeded(outcome.limit)
    if outcome.exit_code:
        return _error_of(outcome.stderr, outcome.exit_code)
    return "" if same_output(outcome.stdout, expected) else "another output"


def _error_of(stderr: str, exit_code: int) -> str:
    """The exception at the end of a traceback, or how else the program ended."""
    _, traceback, text = stderr.rpartition(_TRACEBACK)
    lines = [line for line in text.splitlines() if line[:1].strip()]  # the lines of the stack are indented
    if exit_code == 1 and traceback and lines and (kind := _EXCEPTION.match(lines[0])):
        return kind[1][:100]
    return f"exit code {exit_code}" if exit_code > 0 else f"ended by signal {-exit_code}"


def same_output(output: str, expected: str) -> bool:
    """Whether two outputs have the same lines, as LiveCodeBench compares them.

    White space at the ends of lines and of the output is ignored. In a line of decimal numbers only, their values
    count: 1.0 equals 1, and 0.1 + 0.2 does not equal 0.3.
    """
    lines, others = ([line.strip() for line in text.strip().split("\n")] for text in (output, expected))
    return len(lines) == len(others) and all(map(_same_line, lines, others))


def _same_line(one: str, other: str) -> bool:
    return one == other or ((numbers := _numbers(one)) is not None and numbers == _numbers(other))


def _numbers(line: str) -> list[Decimal] | None:
    """The numbers in a line of numbers only; `inf`, `nan`, `1_000` and digits other than 0 to 9 are words."""
    words = line.split()
    return [Decimal(word) for word in words] if all(map(_NUMBER.fullmatch, words)) else None
