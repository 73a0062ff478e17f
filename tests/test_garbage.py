"""When the garbage collector runs, and which objects it scans."""

import gc

import pytest

from omniopd.command import run
from omniopd.garbage import ALLOCATIONS, freezable, uncollected


def test_frozen_objects_are_not_collected_until_the_block_ends():
    kept = [[] for _ in range(1000)]
    with freezable() as freeze:
        assert gc.get_freeze_count() == 0
        freeze()
        frozen = gc.get_freeze_count()
        later = [[] for _ in range(1000)]
        freeze()
        assert gc.get_freeze_count() <= frozen
        assert frozen > len(kept)
    assert gc.get_freeze_count() == 0
    assert len(later) == 1000


def test_a_cycle_that_was_dropped_before_is_freed():
    class Node:
        freed = 0

        def __del__(self):
            Node.freed += 1

    with uncollected():
        assert not gc.isenabled()
        node = Node()
        node.itself = node
        del node
        assert Node.freed == 0
    assert gc.isenabled()
    with freezable() as freeze:
        freeze()
        assert Node.freed == 1


def test_a_command_collects_rarely(monkeypatch: pytest.MonkeyPatch):
    thresholds = []
    monkeypatch.setattr(gc, "set_threshold", lambda *numbers: thresholds.append(numbers))
    run(lambda: None)
    assert thresholds == [(ALLOCATIONS, 10, 10)]
