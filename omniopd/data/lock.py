"""Locks on files: one writer per run, one maker of shared files, and readers that keep a run from being replaced.

A lock is released when its holder ends, however it ends.
"""

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

from omniopd.errors import RunError

RETRY_S = 0.05  # between two attempts at a lock that another process holds
NO_LOCKS = (errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP)  # for a folder, on some shared disks


@contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Wait for the lock, and hold it for the block."""
    with _opened(lock) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def try_lock(lock: Path, *, within_s: float) -> Iterator[bool]:
    """Hold the lock for the block; False where another process does not release it in time."""
    with _opened(lock) as file:
        is_held = _acquire(file, fcntl.LOCK_EX, within_s=within_s)
        if is_held:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
        yield is_held


@contextmanager
def only_writer(lock: Path, *, of: str, within_s: float = 1.0) -> Iterator[None]:
    """Hold the lock for the block; the default time is enough for processes that only check it.

    Raises:
        RunError: another process holds it; names which.
    """
    with try_lock(lock, within_s=within_s) as is_held:
        if not is_held:
            raise RunError(f"{of}: is being written by {holder(lock)}; wait for it, or stop it first")
        yield


def holder(lock: Path) -> str:
    """The process that last took the lock, for a message."""
    try:
        return lock.read_text(encoding="utf-8").strip() or "another process"
    except OSError:
        return "another process"


def is_taken(lock: Path, *, within_s: float) -> bool:
    """Whether another process has the exclusive lock and does not release it in time."""
    if not lock.exists():
        return False
    with lock.open(encoding="utf-8") as file:
        return not _acquire(file, fcntl.LOCK_SH, within_s=within_s)


def kept_in_place(folder: Path, *, within_s: float) -> AbstractContextManager[bool]:
    """Keep a folder from being replaced for the block, shared with other readers; False while it is being replaced.

    The lock is on the folder itself, so that a reader writes nothing.
    """
    return _folder_lock(folder, fcntl.LOCK_SH, within_s=within_s)


def without_readers(folder: Path, *, within_s: float) -> AbstractContextManager[bool]:
    """Wait for the readers of a folder, and keep others out for the block; False where they take longer."""
    return _folder_lock(folder, fcntl.LOCK_EX, within_s=within_s)


@contextmanager
def _folder_lock(folder: Path, kind: int, *, within_s: float) -> Iterator[bool]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield _acquire(descriptor, kind, within_s=within_s)
    finally:
        os.close(descriptor)


def _opened(lock: Path) -> IO[str]:
    lock.parent.mkdir(parents=True, exist_ok=True)
    return lock.open("a+", encoding="utf-8")


def _acquire(file: IO[str] | int, kind: int, *, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(RETRY_S)
        except OSError as error:
            if error.errno in NO_LOCKS and isinstance(file, int):
                return True  # a shared disk that locks only files
            raise
