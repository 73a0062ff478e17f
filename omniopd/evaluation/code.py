"""Which programs are right: each is run in a sandbox with the tests of its prompt."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from omniopd.errors import DataError
from omniopd.evaluation.grade import Grade
from omniopd.evaluation.programs import program_of
from omniopd.evaluation.sandbox import Limits, Outcome, mode_of_this_machine, run_program
from omniopd.evaluation.tests_of_programs import Pair, Suite, suite_of

__all__ = ["CodeCase", "grade_programs", "program_of"]

DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class CodeCase:
    """A response that is to be graded, with its prompt and what stands in `Prompt.tests`.

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

    Right is a program whose tests all pass and run to their end.
    `num_processes` programs run at once: as many as there are processors, where it is None. Limits hold for each run of
    a program, of which there is one for each pair of input and output, and one for all other tests.

    Raises:
        DataError: tests cannot be read; the case is named by its place.
        ProcessError: programs cannot be run on this machine.
    """
    suites = [_suite(place, case) for place, case in enumerate(cases)]
    if not cases:
        return []
    mode_of_this_machine()  # found once, before there are threads
    pool = ThreadPoolExecutor(num_processes or os.cpu_count() or 1)
    try:
        futures = [
            pool.submit(_grade, case, suite, limits) for case, suite in zip(cases, suites, strict=True)
        ]
        return [future.result() for future in futures]
    finally:
        pool.shutdown(cancel_futures=True)


def _suite(place: int, case: CodeCase) -> Suite:
    try:
        return suite_of(case.tests, case.prompt)
    except DataError as error:
        raise DataError(f"case {place}: {error}") from None


def _grade(case: CodeCase, suite: Suite, limits: Limits) -> Grade:
    program = program_of(case.response, case.prompt)
    if program is None:
        return Grade(False, None, "no program")
    reason = _reason(program, suite, limits)
    return Grade(not reason, program, reason)


def _reason(program: str, suite: Suite, limits: Limits) -> str:
    """Why the program is wrong; the first reason that is found, and empty where it is right."""
    if suite.tests:
        outcome = run_program(program, limits=limits, tests=suite.tests)
        if not outcome.passed:
            return outcome.reason
    for pair in suite.pairs:
        if reason := _reason_of_pair(run_program(program, stdin=pair.stdin, limits=limits), pair):
            return reason
    return ""


def _reason_of_pair(outcome: Outcome, pair: Pair) -> str:
    if outcome.limit:
        return f"too many {outcome.limit}" if outcome.limit == "threads" else f"too much {outcome.limit}"
    if outcome.exit_code:
        return _error_of(outcome)
    return "" if same_output(outcome.stdout, pair.stdout) else "another output"


def _error_of(outcome: Outcome) -> str:
    """The exception that a traceback ends with, or how else the program ended."""
    last = outcome.stderr.strip().rpartition("\n")[2].partition(":")[0]
    if outcome.exit_code == 1 and last.replace(".", "").isidentifier():
        return last[:100]
    code = outcome.exit_code or 0
    return f"exit code {code}" if code > 0 else f"ended by signal {-code}"


def same_output(found: str, wanted: str) -> bool:
    """Whether two outputs have the same lines, as LiveCodeBench compares them.

    White space at the ends of lines and of the output makes no difference; of a line that holds numbers alone, their
    values count: 1.0 is 1, and 0.1 + 0.2 is not 0.3.
    """
    ours, theirs = _lines(found), _lines(wanted)
    return len(ours) == len(theirs) and all(map(_same_line, ours, theirs))


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]


def _same_line(one: str, other: str) -> bool:
    if one == other:
        return True
    ours, theirs = _numbers(one), _numbers(other)
    return ours is not None and ours == theirs


def _numbers(line: str) -> list[Decimal] | None:
    try:
        return [Decimal(word) for word in line.split()]
    except InvalidOperation:
        return None
