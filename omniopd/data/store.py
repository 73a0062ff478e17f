"""Files that are whole or absent: atomic writes, digests, and records in Parquet.

A digest is the md5 of a file's bytes. That is DVC's own object key, so what a manifest, MLflow's
datasets and DVC's cache name by it is one and the same content.
"""

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from omniopd.data.disk import naming
from omniopd.data.processes import runs
from omniopd.data.records import schema_of
from omniopd.errors import DataError, one_line

Record = TypeVar("Record")
SHOWN = 60  # characters of a value in a message
_adapter = cache(TypeAdapter)
PARTIAL = ".partial"  # suffix of a file that is being written
# Raised by pyarrow for damaged files and other columns; text that is not UTF-8 is a ValueError.
UNREADABLE = (OSError, EOFError, KeyError, ValueError, pa.ArrowException)


class _MadeModel(TypedDict):
    path: str  # below the file's folder
    digest: str


class _NamedModel(TypedDict):
    name: str
    digest: str


# The types of the values in the JSON files that omniopd writes, by key; other keys may hold anything.
SHAPES: dict[str, Any] = {
    "arm": str,
    "capabilities": dict[str, Any],
    "files": dict[str, str],  # digests by path
    "inputs": dict[str, str],  # digests by name
    "key": str,
    "method": str,
    "metrics": dict[str, float],
    "num_steps": int,
    "round": int,
    "run_id": str,
    "seconds": float,
    "seed": int,
    "settings": dict[str, Any],
    "shares_tokens": bool,
    "student": _MadeModel | _NamedModel,
    "teacher": _MadeModel | _NamedModel,
    "tried": list[dict[str, float]],
    "way": str,
}


def file_md5(path: Path) -> str:
    """md5 of the file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Write a temporary file next to `path` with `write`, then rename it: readers see the old file or the new.

    Temporary files of killed processes are removed by the next write to the same path.

    Raises:
        DiskError: the disk is full, or not writable.
        DataError: `path` is a folder.
    """
    if path.is_dir():
        raise DataError(f"{path}: is a folder, where a file is to be written; move it away and run again")
    with naming(path), _partial(path) as partial:
        write(partial)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)


def write_dir_atomic(path: Path, fill: Callable[[Path], object]) -> None:
    """Fill a temporary directory next to `path` with `fill`, then put it in the place of the old one."""
    if path.is_file():
        raise DataError(f"{path}: is a file, where a folder is to be written; move it away and run again")
    with naming(path), _partial(path) as partial:
        partial.mkdir()
        fill(partial)
        if path.exists():
            shutil.rmtree(path)
        partial.rename(path)


@contextmanager
def _partial(path: Path) -> Iterator[Path]:
    """The temporary path of this process, absent before and after; those of dead processes are removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    start = f".{path.name}.{socket.gethostname()}-"
    for name in os.listdir(path.parent):
        pid = name.removeprefix(start).removesuffix(PARTIAL)
        if (
            name == f"{start}{pid}{PARTIAL}"
            and pid.isdigit()
            and (int(pid) == os.getpid() or not runs(int(pid)))
        ):
            remove(path.with_name(name))
    partial = path.with_name(f"{start}{os.getpid()}{PARTIAL}")
    try:
        yield partial
    finally:
        remove(partial)


def remove(path: Path) -> None:
    """Remove a file or a folder with its contents, if it exists."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write JSON with sorted keys and a final newline, atomically: equal values give equal bytes."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    write_atomic(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def read_json(path: Path, *keys: str, made_by: str = "", like: Any = None) -> Any:
    """The value in a JSON file.

    Args:
        path: The file.
        keys: Keys that must exist, with values of their SHAPES.
        made_by: The command that makes the file, for the message where it is missing.
        like: The type of the whole value.

    Raises:
        DataError: the file is missing, cannot be read, is not JSON, lacks a key, or holds a value of another type.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        remedy = f"run `{made_by}` first" if made_by else "run the command that makes it again"
        raise DataError(f"{path}: no such file; {remedy}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); delete it and run again") from error
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError among them
        raise DataError(f"{path}: not JSON ({error}); delete it and run again") from error
    if keys and not isinstance(value, dict):
        raise DataError(
            f"{path}: contains {type(value).__name__}, not a JSON object; delete it and run again"
        )
    if missing := [key for key in keys if key not in value]:
        raise DataError(f"{path}: lacks {', '.join(map(repr, missing))}; delete it and run again")
    for key in keys:
        _check_shape(value[key], SHAPES.get(key), path, key)
    _check_shape(value, like, path)
    return value


def _check_shape(value: Any, shape: Any, path: Path, *within: str) -> None:
    if shape is None:
        return
    try:
        _adapter(shape).validate_python(value, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, (*within, *first["loc"])))
        raise DataError(
            f"{path}: {place + ' ' if place else ''}is {repr(first['input'])[:SHOWN]} ({first['msg']}); delete it and "
            "run again"
        ) from error


def write_jsonl(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write one JSON object a line, atomically."""
    text = "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows)
    write_atomic(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def write_records(path: Path, records: Sequence[object], record_type: type) -> None:
    """Write records of one type to Parquet, atomically; equal records give equal bytes."""
    schema = schema_of(record_type)
    columns = {name: [getattr(record, name) for record in records] for name in schema.names}
    table = pa.Table.from_pydict(columns, schema=schema)
    write_atomic(path, lambda partial: pq.write_table(table, partial, compression="zstd"))


def read_column(path: Path, name: str) -> list[Any]:
    """One column of a Parquet file, without the rest.

    Raises:
        DataError: the file is missing or damaged, or has no such column.
    """
    try:
        return pq.ParquetFile(path).read([name]).column(name).to_pylist()
    except UNREADABLE as error:
        raise DataError(
            f"{path}: its column {name} cannot be read ({one_line(error)}); delete it and run again"
        ) from error


def num_rows(path: Path) -> int:
    """The number of records in a Parquet or JSONL file, without reading them; 0 if the file does not exist.

    Raises:
        DataError: the file is damaged.
    """
    if not path.is_file():
        return 0
    if path.suffix == ".jsonl":
        with path.open("rb") as file:
            return sum(1 for _ in file)
    try:
        return pq.read_metadata(path).num_rows
    except UNREADABLE as error:
        raise DataError(
            f"{path}: is not a Parquet file ({one_line(error)}); delete it and run again"
        ) from error


def read_records(path: Path, record_type: type[Record]) -> list[Record]:
    """The records of a Parquet file, in the order they were written.

    A column that the file lacks gets the default of its field.

    Raises:
        DataError: the file is missing, damaged, or of another type of record.
    """
    schema = schema_of(record_type)
    try:
        table = _with_defaults(pq.ParquetFile(path).read(), record_type, schema).cast(schema)
        columns = [table.column(name).to_pylist() for name in schema.names]
    except UNREADABLE as error:
        raise DataError(
            f"{path}: cannot be read as {record_type.__name__} records ({one_line(error)}); delete it and run again"
        ) from error
    return [record_type(*values) for values in zip(*columns, strict=True)]


def _with_defaults(table: pa.Table, record_type: type, schema: pa.Schema) -> pa.Table:
    for i, field in enumerate(fields(record_type)):
        if field.name not in table.column_names and field.default is not MISSING:
            values = pa.array([field.default] * table.num_rows, schema.field(field.name).type)
            table = table.add_column(min(i, table.num_columns), field.name, values)
    return table
