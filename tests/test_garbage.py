"""What the collector looks at, and what it does not."""

import gc

import pytest

from omniopd.command import run
from omniopd.garbage import ALLOCATIONS, settling, uncollected


def test_what_is_there_when_all_has_settled_is_not_looked_at_until_the_block_ends():
    kept = [[] for _ in range(1000)]
    with settling() as settle:
        assert gc.get_freeze_count() == 0
        settle()
        frozen = gc.get_freeze_count()
        later = [[] for _ in range(1000)]
        settle()
        assert gc.get_freeze_count() <= frozen
        assert frozen > len(kept)
    assert gc.get_freeze_count() == 0
    assert len(later) == 1000


def test_a_cycle_that_was_given_up_before_is_freed():
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
    with settling() as settle:
        settle()
        assert Node.freed == 1


def test_a_command_has_it_look_seldom(monkeypatch: pytest.MonkeyPatch):
    told = []
    monkeypatch.setattr(gc, "set_threshold", lambda *numbers: told.append(numbers))
    run(lambda: None)
    assert told == [(ALLOCATIONS, 10, 10)]
