"""The names that LiveCodeBench gives every program, and which of them a program needs."""

import builtins
import functools
import importlib
import symtable
from collections.abc import Iterator

from omniopd.evaluation.programs import MAX_PROGRAM, quietly

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
    if len(program) > MAX_PROGRAM:
        return {}
    try:
        with quietly():
            table = symtable.symtable(program, "program.py", "exec")
        used, bound = _used(table), _bound(table)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return {}
    return {name: origin for name, origin in offered().items() if name in used - bound}


def _tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    waiting = [table]
    while waiting:
        table = waiting.pop()
        yield table
        waiting += table.get_children()


def _used(program: symtable.SymbolTable) -> set[str]:
    """The names that are looked up among the program's globals."""
    return {
        symbol.get_name()
        for table in _tables(program)
        for symbol in table.get_symbols()
        if symbol.is_referenced() and (table is program or symbol.is_global())
    }


def _bound(program: symtable.SymbolTable) -> set[str]:
    """The names that the program binds among its globals."""
    return {
        symbol.get_name()
        for table in _tables(program)
        for symbol in table.get_symbols()
        if (symbol.is_assigned() or symbol.is_imported())
        and (table is program or symbol.is_declared_global())
    }
