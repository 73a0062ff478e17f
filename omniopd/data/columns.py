"""Columns: under which names a row holds the prompt, its answer, its id and its tests."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Columns:
    """Where a row has what; `a.b` is the field b of the field a, None what the rows do not have.

    >>> Columns(prompt="problem", answer="reward_model.ground_truth", id=None, tests=None).own_names()
    {'prompt': 'problem', 'answer': 'reward_model.ground_truth'}
    """

    prompt: str
    answer: str | None
    id: str | None
    tests: str | None
    more: tuple[str, ...] = ()  # what is read besides

    def own_names(self) -> dict[str, str]:
        """The paths that are not called as the thing itself, by thing: those must be there, others may."""
        return {thing: path for thing, path in self._paths().items() if path != thing}

    def tops(self) -> set[str]:
        """Every name that a path may begin with."""
        return {name for path in (*self._paths().values(), *self.more) for name in (path, path.split(".")[0])}

    def _paths(self) -> dict[str, str]:
        paths = {"prompt": self.prompt, "answer": self.answer, "id": self.id, "tests": self.tests}
        return {thing: path for thing, path in paths.items() if path is not None}


# How prompts lie in the files that `prepare` writes, and in a JSONL file that needs no mapping.
PLAIN = Columns(prompt="prompt", answer="answer", id="id", tests="tests")


def value_at(values: Mapping[str, Any], path: str) -> Any:
    """What a path leads to; None where it leads nowhere. A name with a dot in it goes before a path."""
    if path in values:
        return values[path]
    found: Any = values
    for name in path.split("."):
        if not isinstance(found, Mapping) or name not in found:
            return None
        found = found[name]
    return found


def has_path(fields: Mapping[str, Any], path: str) -> bool:
    """Whether a path leads somewhere in a row, or in a description of rows whose structures are mappings."""
    return value_at(fields, path) is not None


def quoted(names: Iterable[str]) -> str:
    """Names for a sentence: 'question', 'answer'; or none."""
    return ", ".join(map(repr, names)) or "none"
