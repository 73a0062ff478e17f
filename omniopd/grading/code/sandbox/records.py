"""What a program may use, what it is tested with, and how it ended."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Limits:
    """What one program may use. The tests, in a process of their own, may use as much again.

    >>> Limits(cpu_s=2).cpu_s
    2
    """

    cpu_s: int = 10
    wall_s: float = 20.0
    memory_bytes: int = 2**30  # of addresses: what is reserved counts
    num_threads: int = 64
    scratch_bytes: int = 16 * 2**20  # of the scratch folder, and of each file
    output_bytes: int = 2**20  # of standard output, and of standard error


@dataclass(frozen=True)
class Tests:
    """What a program is tested with: code, or calls of a function with what each must return.

    >>> Tests(code="assert add(1, 2) == 3").entry_point is None
    True
    >>> Tests(function="add", calls=({"arguments": [1, 2], "expected": [3], "tuples": "all"},)).code
    ''
    """

    __test__ = False  # pytest: no class of tests

    code: str = ""
    context: str = ""  # code that stands before the tests and is not the program's
    entry_point: str | None = None  # what `check(candidate)` of the code is called with
    shadows: tuple[str, ...] = ()  # names of Python's own that are the program's
    function: str | None = None  # what is the program's, though the context has its head; what `calls` call
    # "expected": the values of which one is to be returned; "tuples": which of the result count as lists, the
    # "outermost" or "all"
    calls: tuple[dict[str, Any], ...] | None = None

    def as_record(self) -> dict[str, Any]:
        """The tests, for JSON."""
        return {**vars(self)}


@dataclass(frozen=True)
class Outcome:
    """How a program ended.

    >>> Outcome(stdout="3\\n", stderr="", exit_code=0, limit="", passed=None, reason="", wall_s=0.04).exit_code
    0
    """

    stdout: str
    stderr: str
    exit_code: int | None  # minus the number of a signal; None where it was ended, as it is after its tests
    limit: str  # what it was ended by: "time", "threads", "scratch" or "output"; empty: it ended by itself
    passed: bool | None  # whether all tests ran to their end; None where there were none
    reason: (
        str  # why it has not passed; without tests, why nothing can be said of it; empty where all is well
    )
    wall_s: float


@dataclass(frozen=True)
class Mode:
    """A way to hold programs.

    >>> Mode("limits", "Resource limits alone.").name
    'limits'
    """

    name: str
    description: str  # one sentence; of the weaker ones it says what they do not hold
