"""Sandboxes for untrusted programs. docs/grading.md says what each mode protects."""

from collections.abc import Mapping

from omniopd.errors import ProcessError
from omniopd.grading.code.sandbox.modes import MODES, mode_of_this_machine
from omniopd.grading.code.sandbox.records import Limits, Mode, Outcome, Tests
from omniopd.grading.code.sandbox.run import run_in

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

SANDBOX_FAILED = "the sandbox failed"  # the reason of such an outcome


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

    It runs in the given mode, or in the strongest that works on this machine. Without tests its name is `__main__`.
    `lent` are names that it has from the start: each a module, or an attribute of one; tests do not see them. With
    `exit_is_success` a call of `sys.exit`, whatever the code, counts as the end of the program. If the sandbox fails
    for this program alone, the outcome's reason says so, and its `stderr` has the details.

    Raises:
        ProcessError: no program can be run in the mode.
    """
    mode = mode or mode_of_this_machine()
    try:
        return run_in(
            mode.name, program, stdin=stdin, limits=limits, tests=tests, lent=lent, exit_is_success=exit_is_success
        )  # fmt: skip
    except ProcessError as error:
        run_in(mode.name, "")  # raises if the mode is the cause, not the program
        passed = None if tests is None else False
        return Outcome(
            "", str(error), exit_code=None, limit="", passed=passed, reason=SANDBOX_FAILED, wall_s=0.0
        )
