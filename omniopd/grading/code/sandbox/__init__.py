"""A program that nobody has read, run where it can do no harm. docs/grading.md says what each mode holds."""

from collections.abc import Mapping

from omniopd.errors import ProcessError
from omniopd.grading.code.sandbox.modes import MODES, mode_of_this_machine
from omniopd.grading.code.sandbox.records import Limits, Mode, Outcome, Tests
from omniopd.grading.code.sandbox.run import SANDBOX_FAILED, failed, run_in

__all__ = [
    "MODES",
    "SANDBOX_FAILED",
    "Limits",
    "Mode",
    "Outcome",
    "Tests",
    "mode_of_this_machine",
    "run_program",
]


def run_program(
    program: str,
    *,
    stdin: str = "",
    limits: Limits | None = None,
    tests: Tests | None = None,
    mode: Mode | None = None,
    lent: Mapping[str, tuple[str, str]] | None = None,
    exit_is_success: bool = False,
) -> Outcome:
    """How a Python program ended, what it wrote, and, with tests, whether it passed them.

    It runs in the mode, or in the strongest that this machine can do. Without tests its name is `__main__`.
    `lent` are names that it has before it starts: each a module, or an attribute of one; no test finds them. With
    `exit_is_success` a program that calls `sys.exit`, whatever the code, ends as one that runs to its last line.
    Where its sandbox fails, its outcome says so, with the details as its `stderr`.

    Raises:
        ProcessError: no program can be run in the mode.
    """
    mode = mode or mode_of_this_machine()
    try:
        return run_in(
            mode.name,
            program,
            stdin=stdin,
            limits=limits,
            tests=tests,
            lent=lent,
            exit_is_success=exit_is_success,
        )
    except ProcessError as error:
        run_in(mode.name, "")  # it raises where the mode is the cause, and not the program
        return failed(str(error), has_tests=tests is not None)
