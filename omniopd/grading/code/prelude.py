"""The names that LiveCodeBench gives every program, and which of them a program needs."""

import builtins
import functools
import importlib

from omniopd.grading.code.names import free_names

# LiveCodeBench star-imports these in this order, so that of one name the last module wins, and then imports them by
# name. `collections` comes last here: `typing` has a `Counter` too, which is an alias of it and slower to load.
_STARRED = ("string", "re", "datetime", "heapq", "bisect", "copy", "math", "random", "statistics", "itertools",
            "functools", "operator", "io", "sys", "json", "typing", "collections")  # fmt: skip


@functools.cache
def offered() -> dict[str, tuple[str, str]]:
    """By name: the module and the attribute that it is; the attribute of a module itself is empty.

    >>> offered()["gcd"], offered()["heapq"]
    (('math', 'gcd'), ('heapq', ''))
    """
    names = {name: (module, name) for module in _STARRED for name in _public(module)}
    names |= {module: (module, "") for module in _STARRED if module != "typing"}
    return {name: origin for name, origin in names.items() if not hasattr(builtins, name)}


def _public(name: str) -> list[str]:
    module = importlib.import_module(name)
    return getattr(module, "__all__", None) or [one for one in dir(module) if not one.startswith("_")]


def prelude_of(program: str) -> dict[str, tuple[str, str]]:
    """What the program uses of these names and does not define; nothing where it cannot be read.

    >>> prelude_of("print(gcd(4, 6))")
    {'gcd': ('math', 'gcd')}
    """
    return {name: offered()[name] for name in sorted(free_names(program)) if name in offered()}
