"""Which programs are right: each is run in a sandbox with the tests of its prompt."""

import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from decimal import Decimal

from omniopd.errors import DataError, ProcessError
from omniopd.grading.code.prelude import prelude_of
from omniopd.grading.code.programs import program_of
from omniopd.grading.code.sandbox import SANDBOX_FAILED, Limits, Outcome, mode_of_this_machine, run_program
from omniopd.grading.code.tests_of_programs import Pair, Suite, suite_of
from omniopd.grading.grade import GRADER_ERROR, Grade, not_graded

__all__ = ["CodeCase", "grade_programs", "program_of"]

DEFAULT_LIMITS = Limits()
_TRACEBACK = "Traceback (most recent call last):"
_EXCEPTION = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*)(?::|$)")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,9})?", re.ASCII)


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

    Right is a program whose tests all pass and run to their end. A response on which the grader itself fails is wrong,
    with the error as its reason; the others are graded as ever.
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
            pool.submit(_graded, case, suite, limits) for case, suite in zip(cases, suites, strict=True)
        ]
        return [future.result() for future in futures]
    finally:
        pool.shutdown(cancel_futures=True)


def _suite(place: int, case: CodeCase) -> Suite:
    try:
        return suite_of(case.tests, case.prompt)
    except DataError as error:
        raise DataError(f"case {place}: {error}") from None


def _graded(case: CodeCase, suite: Suite, limits: Limits) -> Grade:
    """The grade, whatever goes wrong with this one response.

    Raises:
        ProcessError: no program can be run any more.
    """
    try:
        return _grade(case, suite, limits)
    except ProcessError:
        raise
    except Exception as error:  # a boundary: responses are hostile, and one must not end a batch
        return not_graded(error)


def _grade(case: CodeCase, suite: Suite, limits: Limits) -> Grade:
    program = program_of(case.response, case.prompt, suite.asked)
    if program is None:
        return Grade(False, None, "no program")
    reason = _reason(program, suite, limits)
    if reason == SANDBOX_FAILED:
        reason = f"{GRADER_ERROR}{reason}"
    return Grade(not reason, program, reason)


def _reason(program: str, suite: Suite, limits: Limits) -> str:
    """Why the program is wrong; the first reason that is found, and empty where it is right."""
    lent = prelude_of(program) if suite.has_prelude else _missing_in_prompt(suite)
    if suite.tests:
        outcome = run_program(program, limits=limits, tests=suite.tests, lent=lent)
        if not outcome.passed:
            return outcome.reason
    for pair in suite.pairs:
        outcome = run_program(
            program, stdin=pair.stdin, limits=_limits_of(pair, limits), lent=lent, exit_is_success=True
        )
        if reason := _reason_of_pair(outcome, pair):
            return reason
    return ""


def _missing_in_prompt(suite: Suite) -> dict[str, tuple[str, str]]:
    """What the head in the prompt uses without an import, such as `List` in its annotations: no fault of a program."""
    return prelude_of(suite.tests.context) if suite.tests else {}


def _limits_of(pair: Pair, limits: Limits) -> Limits:
    """With room for the expected output twice over, beside what any program may write."""
    return replace(limits, output_bytes=limits.output_bytes + 2 * len(pair.stdout.encode("utf-8", "replace")))


def _reason_of_pair(outcome: Outcome, pair: Pair) -> str:
    if outcome.reason:
        return outcome.reason
    if outcome.limit:
        return f"too many {outcome.limit}" if outcome.limit == "threads" else f"too much {outcome.limit}"
    if outcome.exit_code:
        return _error_of(outcome)
    return "" if same_output(outcome.stdout, pair.stdout) else "another output"


def _error_of(outcome: Outcome) -> str:
    """The exception that a traceback ends with, or how else the program ended."""
    _, traceback, text = outcome.stderr.rpartition(_TRACEBACK)
    lines = [line for line in text.splitlines() if line[:1].strip()]  # those of the stack are indented
    if outcome.exit_code == 1 and traceback and lines and (kind := _EXCEPTION.match(lines[0])):
        return kind[1][:100]
    code = outcome.exit_code or 0
    return f"exit code {code}" if code > 0 else f"ended by signal {-code}"


def same_output(found: str, wanted: str) -> bool:
    """Whether two outputs have the same lines, as LiveCodeBench compares them.

    White space at the ends of lines and of the output makes no difference; of a line that holds decimal numbers alone,
    their values count: 1.0 is 1, and 0.1 + 0.2 is not 0.3.
    """
    ours, theirs = _lines(found), _lines(wanted)
    return len(ours) == len(theirs) and all(map(_same_line, ours, theirs))


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().split("\n")]


def _same_line(one: str, other: str) -> bool:
    if one == other:
        return True
    ours, theirs = _numbers(one), _numbers(other)
    return ours is not None and ours == theirs


def _numbers(line: str) -> list[Decimal] | None:
    """The numbers of a line that holds nothing else; `inf`, `nan`, `1_000` and digits other than 0 to 9 are words."""
    words = line.split()
    return [Decimal(word) for word in words] if all(map(_NUMBER.fullmatch, words)) else None
