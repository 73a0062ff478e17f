"""Locks on files: one writer a run, one maker of what is shared, and readers whom no writer replaces a run under.

A lock ends with its holder, however that ends.
"""

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from omniopd.errors import RunError

LOOK_S = 0.05  # between two attempts at a lock that another process holds
NO_LOCKS = (errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP)  # of a folder, on some shared disks


@contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Wait until nobody else holds the lock, and hold it for the block."""
    with _opened(lock) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def held(lock: Path, *, within_s: float) -> Iterator[bool]:
    """Hold the lock for the block; False where another process did not free it within that time."""
    with _opened(lock) as file:
        is_held = _taken(file, fcntl.LOCK_EX, within_s=within_s)
        if is_held:
            _sign(file)
        yield is_held


@contextmanager
def kept_in_place(folder: Path, *, within_s: float) -> Iterator[bool]:
    """Keep a folder from being replaced for the block, together with other readers; False where it is just replaced.

    The lock is on the folder itself, so that a reader writes nothing.
    """
    with _locked(folder, fcntl.LOCK_SH, within_s=within_s) as is_held:
        yield is_held


@contextmanager
def without_readers(folder: Path, *, within_s: float) -> Iterator[bool]:
    """Wait for those who keep a folder in place, and keep others away for the block; False where they take longer."""
    with _locked(folder, fcntl.LOCK_EX, within_s=within_s) as is_held:
        yield is_held


@contextmanager
def _locked(folder: Path, kind: int, *, within_s: float) -> Iterator[bool]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield _taken(descriptor, kind, within_s=within_s)
    finally:
        os.close(descriptor)


def is_taken(lock: Path, *, within_s: float) -> bool:
    """Whether another process has the lock to itself, and does not free it within that time."""
    if not lock.exists():
        return False
    with lock.open(encoding="utf-8") as file:
        return not _taken(file, fcntl.LOCK_SH, within_s=within_s)


@contextmanager
def only_writer(lock: Path, *, of: str, within_s: float = 1.0) -> Iterator[None]:
    """Hold the lock for the block, waiting a moment for those that only look whether it is taken.

    Raises:
        RunError: another process holds it; says which.
    """
    with held(lock, within_s=within_s) as is_held:
        if not is_held:
            raise RunError(f"{of}: is being written by {holder(lock)}; wait for it, or stop it first")
        yield


def holder(lock: Path) -> str:
    """Who took the lock last, in words."""
    try:
        return lock.read_text(encoding="utf-8").strip() or "another process"
    except OSError:
        return "another process"


def _opened(lock: Path) -> IO[str]:
    lock.parent.mkdir(parents=True, exist_ok=True)
    return lock.open("a+", encoding="utf-8")


def _taken(file: IO[str] | int, kind: int, *, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(LOOK_S)
        except OSError as error:
            if error.errno in NO_LOCKS and isinstance(file, int):
                return True  # a shared disk that locks files alone
            raise


def _sign(file: IO[str]) -> None:
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
