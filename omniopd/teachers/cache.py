"""The cache of paid replies, one SQLite file, which also accounts for their costs.

A reply and its cost are written in one transaction. Each call reserves its maximum cost first, so that all threads
and processes that share the file stay within the budget together. A reservation ends with its process, or with its
lease, which is measured in seconds since the machine booted: setting the clock does not change it.
"""

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omniopd.data.processes import has_ended, this_process
from omniopd.errors import BudgetError, DataError

SCHEMA_VERSION = 2
READABLE = (0, 1, SCHEMA_VERSION)  # 0 is an empty file; 1 had no owners
SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (
  id INTEGER PRIMARY KEY, teacher TEXT NOT NULL, way TEXT NOT NULL, prompt_tokens INTEGER NOT NULL,
  cached_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, cost_usd REAL NOT NULL, booked_at REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS replies (
  key BLOB PRIMARY KEY, call INTEGER NOT NULL REFERENCES calls, text TEXT NOT NULL, finish_reason TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS failures (key BLOB PRIMARY KEY, reason TEXT NOT NULL) STRICT, WITHOUT ROWID;
DROP TABLE IF EXISTS holds;
CREATE TABLE holds (
  key BLOB PRIMARY KEY, owner TEXT NOT NULL, tokens INTEGER NOT NULL, cost_usd REAL NOT NULL, until REAL NOT NULL
) STRICT, WITHOUT ROWID;
DROP TABLE IF EXISTS clients;
CREATE TABLE clients (
  name TEXT PRIMARY KEY, owner TEXT NOT NULL, teacher TEXT NOT NULL, until REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spent (
  only INTEGER PRIMARY KEY CHECK (only = 0), num_calls INTEGER NOT NULL, tokens INTEGER NOT NULL, cost_usd REAL NOT NULL
) STRICT;
INSERT OR IGNORE INTO spent VALUES (0, 0, 0, 0.0);
"""
BUSY_TIMEOUT_S = 60.0
DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


@dataclass(frozen=True)
class Budget:
    """Limits for all runs that share the cache; None: no limit."""

    usd: float | None = None
    tokens: int | None = None  # of prompts and replies together


@dataclass(frozen=True)
class Spent:
    """Totals so far. `tokens` are those of prompts and replies together.

    >>> Spent(num_calls=2, tokens=38, cost_usd=0.0004).tokens
    38
    """

    num_calls: int
    tokens: int
    cost_usd: float


@dataclass(frozen=True)
class Usage:
    """What one call was billed for; `cached_tokens` are the prompt tokens that the provider had cached.

    >>> Usage(prompt_tokens=30, cached_tokens=16, completion_tokens=8, cost_usd=0.0002).prompt_tokens
    30
    """

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    cost_usd: float


@dataclass(frozen=True)
class CachedReply:
    """A reply in the cache, and the call that returned it.

    >>> CachedReply("=0", "length", call=7, usage=Usage(30, 0, 8, 0.0002)).text
    '=0'
    """

    text: str
    finish_reason: str
    call: int
    usage: Usage  # of the whole call


def reply_key(*parts: Any) -> bytes:
    """The key of a reply: a hash over all that it depends on, as JSON."""
    text = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()


class ReplyCache:
    """Replies shared by the threads and processes that open the same file.

    Raises:
        DataError: the file is not a cache, or has another version.
    """

    def __init__(self, path: Path):
        self._path = path
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = sqlite3.connect(
                path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            self._prepare()
        except sqlite3.DatabaseError as error:
            raise DataError(
                f"{path}: cannot be used as a cache of replies ({error}); move it away, or name another "
                "file in teacher.cache"
            ) from error

    def _prepare(self) -> None:
        version = self._version()
        if version not in READABLE:
            raise DataError(
                f"{self._path}: a cache of version {version}, and this omniopd reads version {SCHEMA_VERSION}; "
                "name another file in teacher.cache"
            )
        if version == 0:
            self._enable_wal()
        # A killed process loses nothing; the last replies before a power failure are requested again.
        self._db.execute("PRAGMA synchronous = NORMAL")
        if version == SCHEMA_VERSION:
            return
        with self._transaction() as db:
            if self._version() != SCHEMA_VERSION:  # another process may have made the tables meanwhile
                for statement in SCHEMA.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _version(self) -> int:
        return self._db.execute("PRAGMA user_version").fetchone()[0]

    def _enable_wal(self) -> None:
        """Enable the write-ahead log. SQLite does not wait for a lock here, whatever its timeout, so we do."""
        deadline = time.monotonic() + BUSY_TIMEOUT_S
        while True:
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(0.01)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def find(self, keys: Sequence[bytes]) -> dict[bytes, CachedReply]:
        """The replies that are in the cache."""
        query = (
            "SELECT text, finish_reason, call, prompt_tokens, cached_tokens, completion_tokens, cost_usd "
            "FROM replies JOIN calls ON calls.id = replies.call WHERE key = ?"
        )
        replies: dict[bytes, CachedReply] = {}
        with self._open():
            for key in keys:
                row = self._db.execute(query, (key,)).fetchone()
                if row is not None:
                    text, finish_reason, call, *usage = row
                    replies[key] = CachedReply(text, finish_reason, call, Usage(*usage))
        return replies

    def reserve(self, key: bytes, *, tokens: int, cost_usd: float, budget: Budget, lease_s: float) -> bool:
        """Reserve the maximum cost of a call, under the key of its first reply.

        False where that reply is cached or being bought, or where the budget suffices only if calls under way cost
        less than they reserved: look for the reply, and try again. A reservation whose process ended, or that is
        neither booked nor released within lease_s seconds, no longer counts.

        Raises:
            BudgetError: the budget does not suffice, whatever the calls under way cost.
        """
        now = time.monotonic()
        with self._transaction() as db:
            _drop_abandoned(db, "holds", now)
            taken = "SELECT 1 FROM holds WHERE key = ? UNION ALL SELECT 1 FROM replies WHERE key = ?"
            if db.execute(taken, (key, key)).fetchone() or not _has_room(db, budget, tokens, cost_usd):
                return False
            row = (key, this_process(), tokens, cost_usd, now + lease_s)
            db.execute("INSERT INTO holds VALUES (?, ?, ?, ?, ?)", row)
        return True

    def book(
        self,
        reserved: bytes,
        replies: Sequence[tuple[bytes, str, str]],
        *,
        teacher: str,
        way: str,
        usage: Usage,
    ) -> None:
        """Replace a reservation by the replies (key, text, finish reason) of its call, and what that was billed for."""
        with self._transaction() as db:
            call = db.execute(
                "INSERT INTO calls VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)",
                (teacher, way, usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens, usage.cost_usd,
                 time.time()),
            ).lastrowid  # fmt: skip
            db.executemany(
                "INSERT INTO replies VALUES (?, ?, ?, ?) ON CONFLICT (key) DO NOTHING",
                [(key, call, text, reason) for key, text, reason in replies],
            )
            db.execute(
                "UPDATE spent SET num_calls = num_calls + 1, tokens = tokens + ?, cost_usd = cost_usd + ?",
                (usage.prompt_tokens + usage.completion_tokens, usage.cost_usd),
            )
            db.execute("DELETE FROM holds WHERE key = ?", (reserved,))

    def release(self, reserved: bytes) -> None:
        """Delete the reservation of a call that was not billed."""
        with self._transaction() as db:
            db.execute("DELETE FROM holds WHERE key = ?", (reserved,))

    def note_failure(self, key: bytes, reason: str) -> None:
        """Store why a reply could not be bought, for offline runs."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO failures VALUES (?, ?)", (key, reason))

    def failure(self, key: bytes) -> str | None:
        """Why the reply could not be bought, if that was noted."""
        with self._open():
            row = self._db.execute("SELECT reason FROM failures WHERE key = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def register(self, client: str, *, teacher: str, lease_s: float) -> int:
        """Register a client of that teacher for lease_s seconds. Returns how many are, itself included."""
        now = time.monotonic()
        with self._transaction() as db:
            _drop_abandoned(db, "clients", now)
            row = (client, this_process(), teacher, now + lease_s)
            db.execute("INSERT OR REPLACE INTO clients VALUES (?, ?, ?, ?)", row)
            return db.execute("SELECT count(*) FROM clients WHERE teacher = ?", (teacher,)).fetchone()[0]

    def unregister(self, client: str) -> None:
        with self._transaction() as db:
            db.execute("DELETE FROM clients WHERE name = ?", (client,))

    def spent(self) -> Spent:
        """What all users of the file have spent so far."""
        with self._open():
            return Spent(*self._db.execute("SELECT num_calls, tokens, cost_usd FROM spent").fetchone())

    @contextmanager
    def _open(self) -> Iterator[None]:
        """The file for one thread at a time; an error of a damaged file names its path."""
        with self._lock:
            try:
                yield
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                what = "".join(filter(str.isprintable, str(error)))[:80]
                raise DataError(
                    f"{self._path}: the cache of replies is damaged ({what}); restore a copy, or move it away: its "
                    "replies are then requested, and paid for, again"
                ) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._open():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                if self._db.in_transaction:  # damage ends it
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether the file is to blame: by the low byte of SQLite's code, or as text that is not UTF-8, which has none."""
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, sqlite3.OperationalError) if code is None else code & 0xFF in DAMAGE


def _drop_abandoned(db: sqlite3.Connection, table: str, now: float) -> None:
    owners = [owner for (owner,) in db.execute(f"SELECT DISTINCT owner FROM {table}")]
    ended = [(owner,) for owner in owners if has_ended(owner)]
    db.executemany(f"DELETE FROM {table} WHERE owner = ?", ended)
    db.execute(f"DELETE FROM {table} WHERE until < ?", (now,))


def _has_room(db: sqlite3.Connection, budget: Budget, tokens: int, cost_usd: float) -> bool:
    """Whether the budget suffices for a call and all that calls under way reserved.

    Raises:
        BudgetError: it would not suffice even if those cost nothing.
    """
    spent_tokens, spent_usd = db.execute("SELECT tokens, cost_usd FROM spent").fetchone()
    if budget.usd is not None and spent_usd + cost_usd > budget.usd:
        raise BudgetError(
            f"teacher.budget_usd: {budget.usd:g} is reached: {spent_usd:.4f} is spent, and the next call may cost "
            f"{cost_usd:.4f}; all replies so far are kept: raise the budget and run the same command"
        )
    if budget.tokens is not None and spent_tokens + tokens > budget.tokens:
        raise BudgetError(
            f"teacher.budget_tokens: {budget.tokens} is reached: {spent_tokens} are spent, and the next call may take "
            f"{tokens}; all replies so far are kept: raise the budget and run the same command"
        )
    reserved_tokens, reserved_usd = db.execute(
        "SELECT coalesce(sum(tokens), 0), coalesce(sum(cost_usd), 0) FROM holds"
    ).fetchone()
    fits_usd = budget.usd is None or spent_usd + reserved_usd + cost_usd <= budget.usd
    return fits_usd and (budget.tokens is None or spent_tokens + reserved_tokens + tokens <= budget.tokens)
