"""The names of numpy that the tests of EvalPlus use, for numbers and lists of numbers.

Programs have no numpy and return plain data, so that tests need no arrays to compare it. Lists of different shapes are
never close: nothing is broadcast.
"""

from __future__ import annotations

import types

from .annotations import Any

INFINITY = float("inf")


class ndarray:
    """The type of an array; no value has it."""


def allclose(a: Any, b: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether numbers differ by at most atol + rtol · |b|, one by one.

    >>> allclose([1.0, 2.0], (1.0, 2.000001)), allclose(1.0, INFINITY)
    (True, False)

    Raises:
        ValueError: the shapes differ.
        TypeError: something is not a number.
    """
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return all(allclose(x, y, rtol, atol, equal_nan) for x, y in zip(a, b, strict=True))
    if isinstance(a, list | tuple) or isinstance(b, list | tuple):
        raise ValueError("a list and a number have different shapes")
    if equal_nan and a != a and b != b:
        return True
    distance = abs(a - b)
    return a == b or (abs(b) < INFINITY and distance <= atol + rtol * abs(b))


def assert_allclose(
    actual: Any, desired: Any, rtol: float = 1e-07, atol: float = 0, equal_nan: bool = True
) -> None:
    """Raise an AssertionError unless they are close."""
    assert allclose(actual, desired, rtol, atol, equal_nan)


def modules() -> dict[str, types.ModuleType]:
    """`numpy` and `numpy.testing`, with these names."""
    numpy, testing = types.ModuleType("numpy"), types.ModuleType("numpy.testing")
    vars(numpy).update(ndarray=ndarray, float64=float, float32=float, allclose=allclose, testing=testing)
    vars(testing).update(assert_allclose=assert_allclose)
    return {"numpy": numpy, "numpy.testing": testing}
