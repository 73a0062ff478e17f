"""Replies are bought once, and within the budget, whoever buys them."""

import multiprocessing
import os
import signal
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from omniopd.data.processes import has_ended, this_process
from omniopd.errors import BudgetError, DataError
from omniopd.teachers.cache import Budget, ReplyCache, Spent, Usage, reply_key

USAGE = Usage(prompt_tokens=30, cached_tokens=16, completion_tokens=4, cost_usd=0.25)
NO_LIMIT = Budget()


@pytest.fixture
def cache(tmp_path: Path):
    cache = ReplyCache(tmp_path / "teacher.sqlite")
    yield cache
    cache.close()


def _reserve(
    cache: ReplyCache, key: bytes, budget: Budget = NO_LIMIT, tokens: int = 50, cost_usd: float = 1.0, **more
):
    return cache.reserve(key, tokens=tokens, cost_usd=cost_usd, budget=budget, **{"lease_s": 60.0, **more})


def _buy(cache: ReplyCache, *keys: bytes, budget: Budget = NO_LIMIT) -> None:
    assert _reserve(cache, keys[0], budget)
    replies = [(key, f"text {i}", "length") for i, key in enumerate(keys)]
    cache.book(keys[0], replies, teacher="t", way="completion", usage=USAGE)


def test_cached_replies_have_the_usage_of_their_call(cache: ReplyCache, tmp_path: Path):
    _buy(cache, b"a", b"b")
    for replies in (
        cache.find([b"a", b"b", b"c"]),
        ReplyCache(tmp_path / "teacher.sqlite").find([b"b", b"a"]),
    ):
        assert {key: reply.text for key, reply in replies.items()} == {b"a": "text 0", b"b": "text 1"}
        assert replies[b"a"].call == replies[b"b"].call
        assert replies[b"a"].usage == USAGE
    assert cache.spent() == Spent(num_calls=1, tokens=34, cost_usd=0.25)


def test_a_reply_that_is_being_bought_or_was_is_not_bought_again(cache: ReplyCache):
    assert _reserve(cache, b"a")
    assert not _reserve(cache, b"a")
    cache.release(b"a")
    _buy(cache, b"a")
    assert not _reserve(cache, b"a")
    assert cache.spent().num_calls == 1


def test_a_hold_ends_with_its_lease(cache: ReplyCache):
    assert _reserve(cache, b"a", lease_s=-1.0)
    assert _reserve(cache, b"a")


def _reserve_and_die(path: Path) -> None:
    cache = ReplyCache(path)
    assert _reserve(cache, b"a", lease_s=1e9)
    cache.register("dying", teacher="t", lease_s=1e9)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_killed_process_releases_its_reservations_at_once(cache: ReplyCache, tmp_path: Path):
    process = multiprocessing.get_context("spawn").Process(
        target=_reserve_and_die, args=(tmp_path / "teacher.sqlite",)
    )
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert cache.register("living", teacher="t", lease_s=60.0) == 1
    assert _reserve(cache, b"a")


@pytest.mark.parametrize("years", [-1, 1])
def test_a_clock_that_is_set_ends_no_lease_and_prolongs_none(
    cache: ReplyCache, monkeypatch: pytest.MonkeyPatch, years: int
):
    assert _reserve(cache, b"a")
    assert _reserve(cache, b"b", lease_s=0.0)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + years * 365 * 86400)
    assert not _reserve(cache, b"a")
    assert _reserve(cache, b"b")


@pytest.mark.parametrize(
    ("budget", "named"),
    [
        (Budget(usd=1.2), "budget_usd: 1.2 is reached: 0.2500 is spent"),
        (Budget(tokens=80), "budget_tokens: 80 is"),
    ],
)
def test_the_budget_is_never_overrun(cache: ReplyCache, budget: Budget, named: str):
    assert _reserve(cache, b"a", budget)
    assert not _reserve(cache, b"b", budget), "there may be room once the first is settled"
    cache.book(b"a", [(b"a", "x", "stop")], teacher="t", way="completion", usage=USAGE)
    with pytest.raises(BudgetError, match=named):
        _reserve(cache, b"b", budget)
    assert _reserve(cache, b"b", Budget(usd=1.25, tokens=84)), "raised, it goes on"


def test_room_that_a_call_did_not_need_is_given_to_the_next(cache: ReplyCache):
    budget = Budget(usd=1.3)
    assert _reserve(cache, b"a", budget)
    assert not _reserve(cache, b"b", budget)
    cache.release(b"a")
    assert _reserve(cache, b"b", budget)


def test_a_failed_booking_leaves_no_trace(cache: ReplyCache):
    assert _reserve(cache, b"a")
    with pytest.raises(sqlite3.IntegrityError):
        cache.book(b"a", [(b"a", None, "stop")], teacher="t", way="completion", usage=USAGE)  # pyright: ignore[reportArgumentType]
    assert cache.spent() == Spent(0, 0, 0.0)
    assert cache.find([b"a"]) == {}


def test_reasons_are_kept_for_runs_from_the_cache_alone(cache: ReplyCache):
    assert cache.failure(b"a") is None
    cache.note_failure(b"a", "content_filter")
    assert cache.failure(b"a") == "content_filter"


def test_clients_are_counted_while_their_lease_lasts(cache: ReplyCache):
    assert cache.register("one", teacher="t", lease_s=60) == 1
    assert cache.register("two", teacher="t", lease_s=60) == 2
    assert cache.register("other", teacher="u", lease_s=60) == 1
    assert cache.register("two", teacher="t", lease_s=-1) == 2
    assert cache.register("one", teacher="t", lease_s=60) == 1
    cache.unregister("one")
    assert cache.register("three", teacher="t", lease_s=60) == 1


def test_keys_differ_where_anything_of_a_request_does():
    keys = {
        reply_key("t", "prefill", 1.0, 2, *text)
        for text in (["a", "b"], ["ab", ""], ["", "ab"], ["a", "b", 1])
    }
    assert len(keys) == 4


def _spend_until_the_budget(path: Path, name: str, bought: "multiprocessing.Queue[int]") -> None:
    cache, count = ReplyCache(path), 0
    try:
        for i in range(1000):
            if not _reserve(cache, f"{name}-{i}".encode(), Budget(usd=20.0), cost_usd=0.3):
                continue
            cache.book(f"{name}-{i}".encode(), [], teacher="t", way="completion", usage=USAGE)
            count += 1
    except BudgetError:
        pass
    bought.put(count)


@pytest.mark.slow
def test_processes_and_threads_share_one_budget_and_lose_no_booking(tmp_path: Path):
    path = tmp_path / "teacher.sqlite"
    ReplyCache(path).close()
    context = multiprocessing.get_context("spawn")
    bought = context.Queue()
    processes = [
        context.Process(target=_spend_until_the_budget, args=(path, f"p{i}", bought)) for i in range(2)
    ]
    threads = [
        threading.Thread(target=_spend_until_the_budget, args=(path, f"t{i}", bought)) for i in range(2)
    ]
    for worker in (*processes, *threads):
        worker.start()
    counts = [bought.get(timeout=240) for _ in range(4)]
    for worker in (*processes, *threads):
        worker.join(timeout=60)
    cache = ReplyCache(path)
    spent = cache.spent()
    assert spent.num_calls == sum(counts)
    assert spent.cost_usd == pytest.approx(0.25 * sum(counts))
    assert 19.5 <= spent.cost_usd <= 20.0


@pytest.mark.parametrize("content", [b"no database at all, whatever it is called", b""])
def test_a_file_that_is_no_cache_is_refused_or_made_one(tmp_path: Path, content: bytes):
    path = tmp_path / "teacher.sqlite"
    path.write_bytes(content)
    if not content:
        assert ReplyCache(path).spent() == Spent(0, 0, 0.0)
        return
    with pytest.raises(
        DataError, match=r"teacher\.sqlite: cannot be used as a cache of replies .*; move it away"
    ):
        ReplyCache(path)


def test_a_cache_of_another_version_is_refused(tmp_path: Path):
    path = tmp_path / "teacher.sqlite"
    ReplyCache(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(DataError, match="a cache of version 99, and this omniopd reads version 2"):
        ReplyCache(path)


def test_a_cache_of_the_version_before_owners_is_taken_over_with_all_that_was_bought(
    cache: ReplyCache, tmp_path: Path
):
    _buy(cache, b"a")
    with sqlite3.connect(tmp_path / "teacher.sqlite") as db:
        db.execute("DROP TABLE holds")
        db.execute("CREATE TABLE holds (key BLOB PRIMARY KEY, tokens INTEGER, cost_usd REAL, until REAL)")
        db.execute("INSERT INTO holds VALUES (?, 50, 1.0, 4e9)", (b"b",))
        db.execute("PRAGMA user_version = 1")
    later = ReplyCache(tmp_path / "teacher.sqlite")
    assert later.find([b"a"]).keys() == {b"a"}
    assert later.spent().num_calls == 1
    assert _reserve(later, b"b")
    later.close()


def test_the_name_of_a_process_is_its_own():
    name = this_process()
    assert not has_ended(name)
    boot, namespace, pid, began = name.split(":")
    assert has_ended(f"{boot}:{namespace}:{pid}:{float(began) - 1}"), "an earlier one with its number"
    assert has_ended(f"another boot:{namespace}:{pid}:{began}")
    assert not has_ended(f"{boot}:another container:{pid}:1"), "it may run, where it cannot be seen"


@pytest.mark.parametrize("damage", ["pages", "text"])
def test_damage_past_the_first_page_is_reported_in_one_line(tmp_path: Path, damage: str):
    path = tmp_path / "teacher.sqlite"
    cache = ReplyCache(path)
    keys = [str(i).encode() for i in range(200)]
    for key in keys:
        _buy(cache, key)
    cache.close()
    whole = path.read_bytes()
    ruined = whole[:4096] + b"\x07" * (len(whole) - 4096)
    path.write_bytes(ruined if damage == "pages" else whole.replace(b"text 0", b"text \xff"))
    cache = ReplyCache(path)
    with pytest.raises(DataError) as caught:
        cache.find(keys)
    [line] = str(caught.value).splitlines()
    assert line.startswith(f"{path}: the cache of replies is damaged (")
    assert "move it away" in line
    if damage == "pages":
        with pytest.raises(DataError, match="damaged"):
            _reserve(cache, b"new")
    cache.close()


def test_a_closed_cache_is_not_called_damaged(cache: ReplyCache):
    cache.close()
    with pytest.raises(sqlite3.ProgrammingError):
        cache.spent()


def test_a_new_file_that_another_process_is_writing_is_waited_for(tmp_path: Path):
    """SQLite refuses to turn on the write-ahead log of a locked file without waiting."""
    other = sqlite3.connect(tmp_path / "teacher.sqlite", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.3, lambda: other.execute("COMMIT"))
    release.start()
    try:
        cache = ReplyCache(tmp_path / "teacher.sqlite")
    finally:
        release.join()
        other.close()

    _buy(cache, b"a")
    assert cache.spent().num_calls == 1
    cache.close()
