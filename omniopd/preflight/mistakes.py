"""Mistakes in settings, collected until everything has been checked."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from omniopd.errors import ConfigError, DataError, ModelError, OmniOPDError

T = TypeVar("T")


class Mistakes:
    """The errors so far."""

    def __init__(self) -> None:
        self.errors: list[OmniOPDError] = []

    def caught_in(self, step: Callable[[], T], *, place: str = "") -> T | None:
        """The result of the step, or None if it fails."""
        try:
            return step()
        except (ConfigError, DataError, ModelError) as error:
            self.errors.append(type(error)(f"{place}{error}"))
            return None

    def raise_all(self) -> None:
        if self.errors:
            raise type(self.errors[0])("\n".join(map(str, self.errors)))


@contextmanager
def named(place: str) -> Iterator[None]:
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{place}: {error}") from error
