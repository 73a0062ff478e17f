"""A process that compares expressions by math-verify: a line of JSON in, a line out. Started by `symbolic`.

It is given expressions that a model wrote. So it may use no more memory, processor and wall time than it is told, and
no file, has no environment, and evaluates no text: sympy reads numerals by `eval`, in whose place it is given a reader.
It ends with the process that started it, as its input ends with that; at work it ends when its time is over.
"""

import json
import math
import os
import re
import resource
import signal
import sys
from typing import Any

ATOM = re.compile(r"(Integer|Float|Symbol) ?\( ?'?([0-9.eE+-]{1,60}|(?<=')[A-Za-z]{1,20})'? ?\)")
_UNIT = re.compile(r"(?<![A-Za-z\\])i(?![A-Za-z])")
PRECISION = 30  # digits, to which two numbers that were found equal are worked out again
TOLERANCE = 1e-12


def main() -> None:
    """Answer lines until there are no more."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for own in (1, 2):  # what libraries print is no reply
        os.dup2(nowhere, own)
    _limit(json.loads(sys.stdin.readline()))
    _evaluate_nothing()
    for line in sys.stdin:
        request = json.loads(line)
        _begin(request["timeout_s"], request["wall_s"])
        reply = _reply(request["answer"], request["reference"])
        _end()
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def _limit(limits: dict[str, int]) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (limits["memory_bytes"], limits["memory_bytes"]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in (signal.SIGPROF, signal.SIGALRM, signal.SIGXCPU):
        signal.signal(number, signal.SIG_DFL)  # which ends the process, whatever it is doing


def _begin(timeout_s: float, wall_s: float) -> None:
    """From here on so much time of the processor and of the wall, also where nobody is left to end this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = math.ceil(used.ru_utime + used.ru_stime + timeout_s) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))
    signal.setitimer(signal.ITIMER_PROF, timeout_s)
    signal.setitimer(signal.ITIMER_REAL, wall_s)


def _end() -> None:
    for timer in (signal.ITIMER_PROF, signal.ITIMER_REAL):
        signal.setitimer(timer, 0)


def _evaluate_nothing() -> None:
    """Put a reader of numerals and names in the place of sympy's `eval`."""
    import sympy
    import sympy.parsing.sympy_parser as parser
    import sympy.physics.units  # simplify imports it, and it has much evaluated

    kinds = {"Integer": sympy.Integer, "Float": sympy.Float, "Symbol": sympy.Symbol}

    def atom(code: str, *_: object) -> sympy.Basic:
        match = ATOM.fullmatch(code.strip())
        if match is None:
            raise ValueError("text is not evaluated here, and this is neither a numeral nor a name")
        return kinds[match[1]](match[2])

    parser.eval_expr = atom  # pyright: ignore[reportAttributeAccessIssue]


def _reply(answer: str, reference: str) -> bool | None:
    """Whether they are equal, or None where memory did not suffice to tell."""
    from sympy.core.cache import clear_cache

    try:
        return _are_equal(answer, reference)
    except (MemoryError, RecursionError):
        return None
    except Exception:  # what cannot be read, or not be compared, is no reference
        return False
    finally:
        clear_cache()  # what was compared before must not change what is found


def _are_equal(answer: str, reference: str) -> bool:
    from math_verify import verify
    from sympy.core.relational import Relational

    is_real = not any(_UNIT.search(text) for text in (answer, reference))
    one, other = (_read(text, is_real=is_real) for text in (answer, reference))
    if isinstance(one, Relational) != isinstance(other, Relational):
        return False
    if not verify(other, one, float_rounding=6, timeout_seconds=None):
        return False
    return isinstance(one, Relational) or not (one.is_number and other.is_number) or _agree(one, other)


def _read(text: str, *, is_real: bool) -> Any:
    r"""The sympy expression or relation of a text in plain notation; i is the imaginary unit.

    Raises:
        ValueError: it is something else, such as a set.
    """
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig, latex2sympy
    from sympy import Expr
    from sympy.core.relational import Relational

    found = latex2sympy(
        _UNIT.sub("I", text),
        is_real=is_real,
        normalization_config=None,
        conversion_config=ConversionConfig(lowercase_symbols=False),
    )
    if not isinstance(found, Expr | Relational):
        raise ValueError("neither an expression nor a relation")
    return found


def _agree(one: Any, other: Any) -> bool:
    """Whether two numbers agree to a share of them: math-verify takes what differs by less than 1e-15 for equal."""
    first, second = (complex(side.doit().evalf(PRECISION)) for side in (one, other))
    is_decimal = any("." in str(side) for side in (one, other))
    return abs(first - second) <= (1e-5 if is_decimal else TOLERANCE) * max(abs(first), abs(second))


if __name__ == "__main__":
    main()
