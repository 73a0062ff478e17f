"""Fewer passes of Python's garbage collector over objects that it cannot free."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

ALLOCATIONS = 20_000  # new objects that start a collection; Python's default is 700


def collect_rarely() -> None:
    """Start fewer collections: importing the libraries makes a million lasting objects, a second of collecting."""
    gc.set_threshold(ALLOCATIONS, 10, 10)


@contextmanager
def uncollected() -> Iterator[None]:
    """Switch the collector off for the block: for a million objects without cycles."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def freezable() -> Iterator[Callable[[], None]]:
    """A function that exempts all present objects from collection until the block ends; only its first call counts.

    Call it when everything that lasts is loaded: else every round would scan a million objects of libraries and models.
    """

    @cache
    def freeze() -> None:
        gc.collect()
        gc.freeze()

    try:
        yield freeze
    finally:
        gc.unfreeze()
