"""Columns: under which names a row holds the prompt, its answer, its id and its tests."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from omniopd.errors import DataError


@dataclass(frozen=True)
class Columns:
    """The paths of a row's parts; `a.b` is the field b of the field a, None a part that the rows do not have.

    >>> Columns(prompt="problem", answer="reward_model.ground_truth", id=None, tests=None).renamed()
    {'prompt': 'problem', 'answer': 'reward_model.ground_truth'}
    """

    prompt: str
    answer: str | None
    id: str | None
    tests: str | None
    more: tuple[str, ...] = ()  # further columns to read
    hint: tuple[str, ...] = ()  # columns that a prompt keeps for the teacher's hint

    def renamed(self) -> dict[str, str]:
        """The paths that differ from the name of the part, by part. These must exist; the others are optional."""
        return {part: path for part, path in self._paths().items() if path != part}

    def tops(self) -> set[str]:
        """Every name that a path may begin with."""
        paths = (*self._paths().values(), *self.more, *self.hint)
        return {name for path in paths for name in (path, path.split(".")[0])}

    def _paths(self) -> dict[str, str]:
        paths = {"prompt": self.prompt, "answer": self.answer, "id": self.id, "tests": self.tests}
        return {part: path for part, path in paths.items() if path is not None}


# The columns of the files that `prepare` writes, and of a JSONL file that needs no mapping.
PLAIN = Columns(prompt="prompt", answer="answer", id="id", tests="tests")


def value_at(values: Mapping[str, Any], path: str) -> Any:
    """The value at a path, None where there is none. A name that contains a dot takes precedence over a path."""
    if path in values:
        return values[path]
    value: Any = values
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]
    return value


def check_columns(source: object, columns: Columns, fields: Mapping[str, Any]) -> None:
    """Raise where the fields of the rows lack the prompt, or a column that is mapped to another name.

    Raises:
        DataError: names the column, and the fields.
    """
    for part, path in {"prompt": columns.prompt, **columns.renamed()}.items():
        if value_at(fields, path) is None:
            raise missing_column(source, part, path, fields)


def missing_column(source: object, part: str, path: str, fields: Mapping[str, Any]) -> DataError:
    """The error for a mapped column that does not exist."""
    alternative = "" if part == "prompt" else ", or null where there is none"
    return DataError(
        f"{source}: has no column {path!r}; it has {quoted(_leaves(fields))}; name one of them in "
        f"prompts.columns.{part}{alternative}"
    )


def _leaves(fields: Mapping[str, Any]) -> list[str]:
    """The names of fields, and the paths into those that are structures."""
    leaves = []
    for name, value in fields.items():
        inner = value if isinstance(value, Mapping) else {}
        leaves += [f"{name}.{path}" for path in _leaves(inner)] or [name]
    return leaves


def quoted(names: Iterable[str]) -> str:
    """Names for a sentence: 'question', 'answer'; or none."""
    return ", ".join(map(repr, names)) or "none"
