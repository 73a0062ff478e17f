"""The names that Python code uses and binds, and the part of other code that defines what is missing."""

import ast
import builtins
import symtable
from collections.abc import Iterator, Sequence

from omniopd.grading.code.syntax import quietly, statements_of

NAMING = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Import,
    ast.ImportFrom,
    ast.Assign,
    ast.AnnAssign,
)
_OF_PYTHON = frozenset(dir(builtins))
_Span = tuple[int, int]  # lines of a code, as a slice
_Places = tuple[int, list[_Span]]  # which of several codes, and where in it


def free_names(code: str) -> set[str]:
    """The names that the code looks up among its globals and binds nowhere there, without Python's own.

    Empty where the code cannot be read.

    >>> free_names("def f(x): return helper(x) + len(x)")
    {'helper'}
    """
    table = _table(code)
    return set() if table is None else _used(table) - _bound(table) - _OF_PYTHON


def bound_names(code: str) -> set[str]:
    """The names that the code binds among its globals; empty where it cannot be read."""
    table = _table(code)
    return set() if table is None else _bound(table)


def definitions_for(missing: set[str], codes: Sequence[str], *, but: frozenset[str] = frozenset()) -> str:
    """The definitions, imports and assignments of the codes that bind these names, and those that they need in turn.

    Of several codes that bind a name the first is taken; names of `but` are not looked for. Nothing else is taken: no
    call, no loop, no test. The last code comes first, and each in its own order.

    >>> definitions_for({"one"}, ["import two\\ndef one(): return two\\nprint(one())"])
    'import two\\ndef one(): return two\\n'
    """
    origins, taken = _origins(codes), set[tuple[int, _Span]]()
    lines = [code.split("\n") for code in codes]
    waiting = [name for name in missing if name in origins]
    while waiting:
        place, spans = origins[waiting.pop()]
        for span in spans:
            if (place, span) not in taken:
                taken.add((place, span))
                waiting += [name for name in free_names(_text(lines[place], span)) - but if name in origins]
    order = sorted(taken, key=lambda one: (-one[0], one[1]))
    return "".join(_text(lines[place], span) for place, span in order)


def _origins(codes: Sequence[str]) -> dict[str, _Places]:
    """By name: which of the codes binds it first, and in which of its lines."""
    origins: dict[str, _Places] = {}
    for place, code in enumerate(codes):
        for statement in statements_of(code) or []:
            if isinstance(statement, NAMING):
                for name in _names_of(statement):
                    origin = origins.setdefault(name, (place, []))
                    if origin[0] == place:
                        origin[1].append(_span(statement))
    return origins


def _names_of(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Import | ast.ImportFrom):
        yield from ((one.asname or one.name).partition(".")[0] for one in statement.names)
    else:
        yield from (
            one.id
            for one in ast.walk(statement)
            if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)
        )


def _span(statement: ast.stmt) -> _Span:
    decorators = getattr(statement, "decorator_list", [])
    first = min([statement.lineno, *(one.lineno for one in decorators)])
    return first - 1, statement.end_lineno or statement.lineno


def _text(lines: list[str], span: _Span) -> str:
    return "".join(f"{line}\n" for line in lines[slice(*span)])


def _table(code: str) -> symtable.SymbolTable | None:
    if statements_of(code) is None:
        return None
    try:
        with quietly():
            return symtable.symtable(code, "program.py", "exec")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def _tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    waiting = [table]
    while waiting:
        table = waiting.pop()
        yield table
        waiting += table.get_children()


def _used(program: symtable.SymbolTable) -> set[str]:
    return {
        symbol.get_name()
        for table in _tables(program)
        for symbol in table.get_symbols()
        if symbol.is_referenced() and (table is program or symbol.is_global())
    }


def _bound(program: symtable.SymbolTable) -> set[str]:
    return {
        symbol.get_name()
        for table in _tables(program)
        for symbol in table.get_symbols()
        if (symbol.is_assigned() or symbol.is_imported())
        and (table is program or symbol.is_declared_global())
    }
