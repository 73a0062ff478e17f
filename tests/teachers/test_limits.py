"""Requests and tokens a minute."""

import asyncio
import itertools

import pytest

from omniopd.teachers.limits import Bucket


class Clock:
    """Time that passes as it is slept."""

    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("omniopd.teachers.limits.asyncio.sleep", clock.sleep)
    return clock


def _taken(
    clock: Clock, per_minute: float | None, amounts: list[float], *, num_clients: int = 1
) -> list[float]:
    async def take() -> list[float]:
        bucket, at = Bucket(per_minute, clock=clock), []
        bucket.divide(num_clients)
        for amount in amounts:
            await bucket.take(amount)
            at.append(clock.now)
        return at

    return asyncio.run(take())


def test_a_minutes_worth_takes_a_minute_beyond_the_first_second(clock: Clock):
    at = _taken(clock, 120, [1.0] * 121)
    assert at[:2] == [0.0, 0.0]
    assert at[-1] == pytest.approx(59.5, abs=0.6)
    assert all(later - earlier <= 0.51 for earlier, later in itertools.pairwise(at))


def test_slow_rates_let_the_first_through_at_once(clock: Clock):
    assert _taken(clock, 6, [1, 1, 1]) == pytest.approx([0.0, 9.0, 19.0], abs=0.1)


def test_more_than_a_minutes_worth_at_once_is_paid_off_by_those_after(clock: Clock):
    assert _taken(clock, 60, [150, 1]) == pytest.approx([0.0, 149.0], abs=0.1)


def test_processes_divide_the_rate(clock: Clock):
    assert _taken(clock, 60, [1] * 31, num_clients=3)[-1] == pytest.approx(3 * 30, abs=3.1)


def test_what_was_not_used_is_given_back(clock: Clock):
    async def take() -> float:
        bucket = Bucket(60, clock=clock)
        await bucket.take(100)
        bucket.give_back(99)
        await bucket.take(1)
        return clock.now

    assert asyncio.run(take()) == pytest.approx(0.0, abs=0.1)


def test_no_limit_is_no_wait(clock: Clock):
    assert _taken(clock, None, [1e9] * 3) == [0.0] * 3
