"""What a program may use, its tests, and how it ended."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Limits:
    """The limits of one program. Its tests run in a separate process with the same limits.

    >>> Limits(cpu_s=2).cpu_s
    2
    """

    cpu_s: int = 10
    wall_s: float = 20.0
    memory_bytes: int = 2**30  # of addresses: reserved memory counts
    num_threads: int = 64
    scratch_bytes: int = 16 * 2**20  # of the scratch folder, and of each file
    output_bytes: int = 2**20  # of standard output, and of standard error


@dataclass(frozen=True)
class Tests:
    """The tests of a program: code, or calls of a function with what each must return.

    >>> Tests(code="assert add(1, 2) == 3").entry_point is None
    True
    >>> Tests(function="add", calls=({"arguments": [1, 2], "expected": [3], "tuples": "all"},)).code
    ''
    """

    __test__ = False  # not a test class for pytest

    code: str = ""
    context: str = ""  # code before the tests that is not the program's
    entry_point: str | None = None  # what `check(candidate)` of the code is called with
    shadows: tuple[str, ...] = ()  # names of builtins that are the program's
    function: str | None = None  # the program's, although the context has its head; what `calls` call
    # "expected": the values of which one must be returned; "tuples": which tuples of the result count as lists, the
    # "outermost" or "all"
    calls: tuple[dict[str, Any], ...] | None = None


@dataclass(frozen=True)
class Outcome:
    """How a program ended.

    >>> Outcome(stdout="3\\n", stderr="", exit_code=0, limit="", passed=None, reason="", wall_s=0.04).exit_code
    0
    """

    stdout: str
    stderr: str
    exit_code: int | None  # minus the number of a signal; None if it was ended, as it is after its tests
    limit: str  # that ended it: "time", "threads", "scratch" or "output"; empty if it ended by itself
    passed: bool | None  # whether all tests ran to their end; None if there were none
    reason: str  # why it has not passed; without tests, why its outcome is unknown; empty if all is well
    wall_s: float


@dataclass(frozen=True)
class Mode:
    """A kind of sandbox.

    >>> Mode("limits", "Resource limits alone.").name
    'limits'
    """

    name: str
    description: str  # one sentence; for a weaker mode it says what is not protected


def exceeded(limit: str) -> str:
    """The reason of a program that was ended by that limit."""
    return "too many threads" if limit == "threads" else f"too much {limit}"
