"""The names that Python code uses and binds, and the parts of other code that define missing ones."""

import ast
import builtins
import symtable
from collections.abc import Iterator, Sequence

from omniopd.grading.code.syntax import quietly, statements_of

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
NAMING = (*_DEFINITIONS, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)  # statements that bind names
_Span = tuple[int, int]  # lines of a code, as a slice
_Tables = list[symtable.SymbolTable]


def global_names(code: str) -> set[str]:
    """The global names that the code uses and does not bind, Python's builtins among them.

    Empty if the code cannot be parsed.
    """
    tables = _tables(code)
    used = {
        symbol.get_name()
        for table in tables
        for symbol in table.get_symbols()
        if symbol.is_referenced() and (table is tables[0] or symbol.is_global())
    }
    return used - _bound(tables)


def free_names(code: str) -> set[str]:
    """The same without Python's builtins.

    >>> free_names("def f(x): return helper(x) + len(x)")
    {'helper'}
    """
    return global_names(code) - set(dir(builtins))


def bound_names(code: str) -> set[str]:
    """The global names that the code binds; empty if it cannot be parsed."""
    return _bound(_tables(code))


def definitions_for(missing: set[str], codes: Sequence[str], *, but: frozenset[str] = frozenset()) -> str:
    """The definitions, imports and assignments in the codes that bind these names, and what they need in turn.

    If several codes bind a name, the first wins; names in `but` are not looked up. Calls, loops and tests are left out.
    The last code comes first, each in its own order.

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


def _origins(codes: Sequence[str]) -> dict[str, tuple[int, list[_Span]]]:
    """By name: the first of the codes that binds it, and the lines there that do."""
    origins: dict[str, tuple[int, list[_Span]]] = {}
    for place, code in enumerate(codes):
        for statement in statements_of(code) or []:
            if not isinstance(statement, NAMING):
                continue
            decorators = getattr(statement, "decorator_list", [])
            first_line = min([statement.lineno, *(one.lineno for one in decorators)])
            for name in _names_of(statement):
                first, spans = origins.setdefault(name, (place, []))
                if first == place:
                    spans.append((first_line - 1, statement.end_lineno or statement.lineno))
    return origins


def _names_of(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, _DEFINITIONS):
        yield statement.name
    elif isinstance(statement, ast.Import | ast.ImportFrom):
        yield from ((one.asname or one.name).partition(".")[0] for one in statement.names)
    else:
        for one in ast.walk(statement):
            if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
                yield one.id


def _text(lines: list[str], span: _Span) -> str:
    return "".join(f"{line}\n" for line in lines[slice(*span)])


def _tables(code: str) -> _Tables:
    """The symbol tables of the code, that of the module first; none if it cannot be parsed."""
    if statements_of(code) is None:
        return []
    with quietly():
        tables = [symtable.symtable(code, "program.py", "exec")]
    for table in tables:  # which grows meanwhile
        tables += table.get_children()
    return tables


def _bound(tables: _Tables) -> set[str]:
    return {
        symbol.get_name()
        for table in tables
        for symbol in table.get_symbols()
        if (symbol.is_assigned() or symbol.is_imported())
        and (table is tables[0] or symbol.is_declared_global())
    }
