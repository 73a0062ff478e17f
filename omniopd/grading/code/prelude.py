"""The names that LiveCodeBench gives every program, and which of them a program needs."""

import builtins
import functools
import importlib

from omniopd.grading.code.names import free_names

# LiveCodeBench star-imports these in this order, so the last module that has a name wins, and then imports them by
# name. `collections` comes last here: `typing` has a `Counter` too, which is an alias of it and slower to load.
_STARRED = ("string", "re", "datetime", "heapq", "bisect", "copy", "math", "random", "statistics", "itertools",
            "functools", "operator", "io", "sys", "json", "typing", "collections")  # fmt: skip


@functools.cache
def offered() -> dict[str, tuple[str, str]]:
    """(module, attribute) by name; the attribute is empty for a module itself.

    >>> offered()["gcd"], offered()["heapq"]
    (('math', 'gcd'), ('heapq', ''))
    """
    names: dict[str, tuple[str, str]] = {}
    for module in _STARRED:
        loaded = importlib.import_module(module)
        public = getattr(loaded, "__all__", None) or [
            name for name in dir(loaded) if not name.startswith("_")
        ]
        names |= {name: (module, name) for name in public}
    names |= {module: (module, "") for module in _STARRED if module != "typing"}
    return {name: origin for name, origin in names.items() if not hasattr(builtins, name)}


def prelude_of(program: str) -> dict[str, tuple[str, str]]:
    """The offered names that the program uses and does not define; none if it cannot be parsed.

    >>> prelude_of("print(gcd(4, 6))")
    {'gcd': ('math', 'gcd')}
    """
    return {name: offered()[name] for name in sorted(free_names(program)) if name in offered()}
