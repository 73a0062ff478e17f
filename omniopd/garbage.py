"""Python's collector of cycles, kept from looking again and again at what it cannot free."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ALLOCATIONS = 20_000  # objects more than before at which it looks; Python's own number is 700


def look_seldom() -> None:
    """For a process of a command: before it begins, libraries make a million objects that last, a second's looking."""
    gc.set_threshold(ALLOCATIONS, 10, 10)


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the collector: where objects are made by the million, and none of them in a cycle."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def settling() -> Iterator[Callable[[], None]]:
    """What to call when everything is there that lasts: until the block ends the collector looks at none of it.

    A million objects of libraries and models, at which it would look in every round. Calls after the first do nothing.
    """
    has_settled = False

    def settle() -> None:
        nonlocal has_settled
        if not has_settled:
            gc.collect()
            gc.freeze()
            has_settled = True

    try:
        yield settle
    finally:
        gc.unfreeze()
