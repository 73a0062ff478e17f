"""The worker process of `symbolic`: compares expressions by math-verify, one line of JSON in, one line out.

The expressions are written by a model. So memory, processor and wall time are limited, no file can be written, there is
no environment, and no text is evaluated: sympy reads numerals by `eval`, which a parser replaces here.
An idle worker ends with its parent, as its input does; a busy one ends at its time limit.
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
_RAISED_UNIT = re.compile(_UNIT.pattern + r"(?= ?\^)")  # the parser drops the exponent of I^{2}
PRECISION = 30  # digits to which numbers are evaluated first
MAX_PRECISION = 20_000  # digits to which their difference is evaluated if needed
TOLERANCE = 1e-5  # of decimals, relative
SAMPLES = ("7/5", "23/9")  # values at which expressions that seem equal are evaluated


def main() -> None:
    """Answer requests until there are no more."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    devnull = os.open(os.devnull, os.O_RDWR)
    for descriptor in (1, 2):  # libraries may print
        os.dup2(devnull, descriptor)
    _limit(json.loads(sys.stdin.readline()))
    _evaluate_nothing()
    for line in sys.stdin:
        request = json.loads(line)
        _start_timers(request["timeout_s"], request["wall_s"])
        reply = _reply(request["answer"], request["reference"])
        for timer in (signal.ITIMER_PROF, signal.ITIMER_REAL):
            signal.setitimer(timer, 0)
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def _limit(limits: dict[str, int]) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (limits["memory_bytes"], limits["memory_bytes"]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in (signal.SIGPROF, signal.SIGALRM, signal.SIGXCPU):
        signal.signal(number, signal.SIG_DFL)  # ends the process, whatever it is doing


def _start_timers(timeout_s: float, wall_s: float) -> None:
    """Limit processor and wall time from now on, even if the parent is gone."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit_s = math.ceil(used.ru_utime + used.ru_stime + timeout_s) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit_s, resource.RLIM_INFINITY))
    signal.setitimer(signal.ITIMER_PROF, timeout_s)
    signal.setitimer(signal.ITIMER_REAL, wall_s)


def _evaluate_nothing() -> None:
    """Replace sympy's `eval` by a parser of numerals and names."""
    import sympy
    import sympy.parsing.sympy_parser as parser
    import sympy.physics.units  # imported by simplify, and needs the real `eval`

    kinds = {"Integer": sympy.Integer, "Float": sympy.Float, "Symbol": sympy.Symbol}

    def atom(code: str, *_: object) -> sympy.Basic:
        match = ATOM.fullmatch(code.strip())
        if match is None:
            raise ValueError("text is not evaluated here, and this is neither a numeral nor a name")
        return kinds[match[1]](match[2])

    parser.eval_expr = atom  # pyright: ignore[reportAttributeAccessIssue]


def _reply(answer: str, reference: str) -> bool | None:
    """Whether the two are equal, or None if memory ran out."""
    from sympy.core.cache import clear_cache

    try:
        return _are_equal(answer, reference)
    except (MemoryError, RecursionError):
        return None
    except Exception:  # not readable, or not comparable
        return False
    finally:
        clear_cache()  # so that earlier comparisons do not change the result


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
        if not _agree(one, other):
            return False  # math-verify rounds decimals to six places
        return not _has_decimals(one, other) or one.doit().round(6) == other.doit().round(6)
    return verify(other, one, float_rounding=6, timeout_seconds=None) and _agree_at_samples(one, other)


def _read(text: str, *, is_real: bool) -> Any:
    """The sympy expression or relation of a text, with i as the imaginary unit; a ValueError if it is neither."""
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig, latex2sympy
    from sympy import Expr
    from sympy.core.relational import Relational

    parsed = latex2sympy(
        _UNIT.sub("I", _RAISED_UNIT.sub("(I)", text)),
        is_real=is_real,
        normalization_config=None,
        conversion_config=ConversionConfig(lowercase_symbols=False),
    )
    if not isinstance(parsed, Expr | Relational):
        raise ValueError("neither an expression nor a relation")
    return parsed


def _has_decimals(one: Any, other: Any) -> bool:
    from sympy import Float

    return one.has(Float) or other.has(Float)


def _agree(one: Any, other: Any) -> bool:
    """Whether two numbers of any size are equal: exactly, or within TOLERANCE if one is a decimal."""
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
    num_digits = 4 * PRECISION + 2 * abs(int(log(size, 10).evalf(5))) if size else PRECISION
    parts = difference.evalf(2, maxn=min(MAX_PRECISION, num_digits)).as_real_imag()
    return all(part == 0 or part._prec <= 1 for part in parts)  # no digit but zero is certain


def _agree_at_samples(one: Any, other: Any) -> bool:
    """Whether two expressions are equal at sample values of their variables; math-verify does not check that."""
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
