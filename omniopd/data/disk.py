"""One sentence for a full or read-only disk, or a path that is no file, whichever library raised the error."""

import errno
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omniopd.errors import DiskError, OmniOPDError

SHOWN = 200  # characters of a path in a message
REMEDIES = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EROFS: "make it writable",
    errno.EACCES: "make it writable",
    errno.EPERM: "make it writable",
}
# For paths of another kind than expected, read or written.
MISPLACED = {
    errno.EISDIR: "move the folder away",
    errno.ENOTDIR: "a folder belongs where a file is: move the file away",
    errno.ELOOP: "delete the link",
    errno.ENAMETOOLONG: "give it a shorter name",
}
IN_SQLITE = {sqlite3.SQLITE_FULL: errno.ENOSPC, sqlite3.SQLITE_READONLY: errno.EROFS}


def disk_error(error: BaseException, path: Path) -> DiskError | None:
    """The sentence for an error of a disk or a path, else None; `path` is named where the error names no file."""
    number = _number(error)
    filename = getattr(error, "filename", None)
    if isinstance(error, OSError) and filename and number in MISPLACED:
        return DiskError(
            f"{str(filename)[:SHOWN]}: cannot be used ({os.strerror(number)}); {MISPLACED[number]} and run it again"
        )
    if isinstance(error, OmniOPDError) or number not in REMEDIES:
        return None
    return DiskError(
        f"{filename or path}: cannot be written ({os.strerror(number)}); {REMEDIES[number]} and run the same command: "
        "finished work is kept"
    )


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn errors of a disk or a path in the block into that sentence.

    Raises:
        DiskError: the disk is full or read-only, or a path is not of the expected kind.
    """
    try:
        yield
    except Exception as error:
        sentence = disk_error(error, path)
        if sentence is None:
            raise
        raise sentence from error


def _number(error: BaseException) -> int | None:
    """The errno of an error. Libraries written in Rust give it only in their text."""
    if isinstance(error, sqlite3.Error):
        return IN_SQLITE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    if isinstance(error, OSError):
        return error.errno
    match = re.search(r"\(os error (\d+)\)", str(error))
    return int(match[1]) if match else None
