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
_RAISED_UNIT = re.compile(_UNIT.pattern + r"(?= ?\^)")  # of I^{2} the parser leaves the exponent out
PRECISION = 30  # digits to which numbers are worked out first
MAX_PRECISION = 20_000  # and to which their difference is, if need be
TOLERANCE = 1e-5  # of decimals, relative
SAMPLES = ("7/5", "23/9")  # at which expressions that were found equal are worked out again


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
    if isinstance(one, Relational):
        return verify(other, one, float_rounding=6, timeout_seconds=None)
    if one.is_number and other.is_number:
        return _agree(one, other) and (not _has_decimals(one, other) or _rounds_alike(one, other))
    return verify(other, one, float_rounding=6, timeout_seconds=None) and _agree_at_samples(one, other)


def _read(text: str, *, is_real: bool) -> Any:
    r"""The sympy expression or relation of a text in plain notation; i is the imaginary unit.

    Raises:
        ValueError: it is something else, such as a set.
    """
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig, latex2sympy
    from sympy import Expr
    from sympy.core.relational import Relational

    found = latex2sympy(
        _UNIT.sub("I", _RAISED_UNIT.sub("(I)", text)),
        is_real=is_real,
        normalization_config=None,
        conversion_config=ConversionConfig(lowercase_symbols=False),
    )
    if not isinstance(found, Expr | Relational):
        raise ValueError("neither an expression nor a relation")
    return found


def _has_decimals(one: Any, other: Any) -> bool:
    from sympy import Float

    return one.has(Float) or other.has(Float)


def _rounds_alike(one: Any, other: Any) -> bool:
    """Whether they are equal to six decimal places, as math-verify compares decimals."""
    return one.doit().round(6) == other.doit().round(6)


def _agree(one: Any, other: Any) -> bool:
    """Whether two numbers are equal, of whatever size: to the last digit, and to TOLERANCE where one is a decimal."""
    from sympy import log

    first, second = (side.doit() for side in (one, other))
    difference = first - second
    if difference.is_Rational:
        return bool(difference == 0)
    size = max(abs(side.evalf(PRECISION)) for side in (first, second))
    share = abs(difference.evalf(PRECISION)) / size if size else size
    if _has_decimals(first, second):
        return bool(share <= TOLERANCE)
    if share > 10 ** -(PRECISION // 2):
        return False
    num_digits = (
        min(MAX_PRECISION, 4 * PRECISION + 2 * abs(int(log(size, 10).evalf(5)))) if size else PRECISION
    )
    return _is_nothing(difference, num_digits)


def _is_nothing(value: Any, num_digits: int) -> bool:
    """Whether no digit of a number but zero is certain after working with so many digits."""
    worked_out = value.evalf(2, maxn=num_digits)
    return all(part == 0 or part._prec <= 1 for part in worked_out.as_real_imag())


def _agree_at_samples(one: Any, other: Any) -> bool:
    """Whether two expressions are equal at some values of their variables, which math-verify does not look at."""
    from sympy import Rational

    names = sorted(one.free_symbols | other.free_symbols, key=str)
    for sample in SAMPLES:
        values = {name: Rational(sample) + number for number, name in enumerate(names)}
        first, second = (side.subs(values) for side in (one, other))
        if first.is_number and second.is_number and first.is_finite and not _agree(first, second):
            return False
    return True


if __name__ == "__main__":
    main()
