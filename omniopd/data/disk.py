"""A disk that is full or cannot be written, or a path that is no file, whichever library met it: one sentence."""

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
# Of paths that cannot be what they are taken for, read or written.
MISPLACED = {
    errno.EISDIR: "move the folder away",
    errno.ENOTDIR: "a folder belongs where a file is: move the file away",
    errno.ELOOP: "delete the link",
    errno.ENAMETOOLONG: "give it a shorter name",
}
IN_SQLITE = {sqlite3.SQLITE_FULL: errno.ENOSPC, sqlite3.SQLITE_READONLY: errno.EROFS}


def disk_error(error: BaseException, path: Path) -> DiskError | None:
    """The sentence for an error of a disk or of a path; `path` is named where the error names no file."""
    number = _number(error)
    filename = getattr(error, "filename", None)
    if isinstance(error, OSError) and filename and number in MISPLACED:
        where = f"{filename}"[:SHOWN]
        return DiskError(
            f"{where}: cannot be used ({os.strerror(number)}); {MISPLACED[number]} and run it again"
        )
    if isinstance(error, OmniOPDError) or number not in REMEDIES:
        return None
    where = filename or path
    return DiskError(
        f"{where}: cannot be written ({os.strerror(number)}); {REMEDIES[number]} and run the same command: what was "
        "done is kept"
    )


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """For the block, blame the disk of `path` in that sentence.

    Raises:
        DiskError: it is full, cannot be written, or a path there is not what it is taken for.
    """
    try:
        yield
    except Exception as error:
        found = disk_error(error, path)
        if found is None:
            raise
        raise found from error


def _number(error: BaseException) -> int | None:
    """The system's number of what went wrong. Libraries in Rust give it in words alone."""
    if isinstance(error, sqlite3.Error):
        return IN_SQLITE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else None
