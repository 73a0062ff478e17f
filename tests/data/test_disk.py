"""One sentence for a disk that is full or cannot be written, whichever library met it."""

import errno
import os
import sqlite3
from pathlib import Path

import pytest

from omniopd.data.disk import disk_error, naming
from omniopd.errors import DataError, DiskError


def _full_database() -> sqlite3.Error:
    database = sqlite3.connect(":memory:")
    database.execute("PRAGMA max_page_count = 1")
    try:
        database.execute("CREATE TABLE numbers (number INTEGER)")
    except sqlite3.OperationalError as error:
        return error
    finally:
        database.close()
    raise AssertionError("one page holds no table")


ERRORS = {
    "of the system": (
        OSError(errno.ENOSPC, "No space left on device"),
        "No space left on device); make room",
    ),
    "of SQLite": (_full_database(), "No space left on device); make room"),
    "of a library in Rust": (
        RuntimeError("I/O error: full (os error 28)"),
        "No space left on device); make room",
    ),
    "of a file system": (OSError(errno.EROFS, "no"), "Read-only file system); make it writable"),
}


@pytest.mark.parametrize(("error", "sentence"), ERRORS.values(), ids=ERRORS)
def test_the_sentence_names_the_file_and_the_remedy(error: Exception, sentence: str):
    with pytest.raises(DiskError) as caught, naming(Path("runs/a/metrics.jsonl")):
        raise error
    assert str(caught.value).startswith("runs/a/metrics.jsonl: cannot be written (")
    assert sentence in str(caught.value)
    assert caught.value.__cause__ is error


def test_the_file_that_an_error_names_is_nearer_to_the_fault():
    error = disk_error(PermissionError(errno.EACCES, "no", "run.lock"), Path("project"))
    assert str(error).startswith(
        f"run.lock: cannot be written ({os.strerror(errno.EACCES)}); make it writable"
    )


def _blocked(folder: Path, kind: str) -> Path:
    """A path that is no file, and cannot be read as one."""
    path = folder / "a.json"
    match kind:
        case "folder":
            path.mkdir()
        case "loop":
            path.symlink_to(path.name)
        case "below a file":
            path.touch()
            path /= "b.json"
        case "long name":
            path = folder / ("a" * 300)
    return path


@pytest.mark.parametrize("kind", ["folder", "loop", "below a file", "long name"])
def test_a_path_that_is_no_file_is_named_with_what_to_do(tmp_path: Path, kind: str):
    path = _blocked(tmp_path, kind)
    with pytest.raises(DiskError) as caught, naming(tmp_path):
        path.read_bytes()
    where, _, rest = str(caught.value).partition(": cannot be used (")
    assert str(path).startswith(where)
    assert where.startswith(str(tmp_path))
    assert "; " in rest
    assert "written" not in rest


@pytest.mark.parametrize(
    "error", [FileNotFoundError(errno.ENOENT, "no"), ValueError("28"), DataError("broken")]
)
def test_other_errors_are_left_as_they_are(error: Exception):
    with pytest.raises(type(error)) as caught, naming(Path("a")):
        raise error
    assert caught.value is error
