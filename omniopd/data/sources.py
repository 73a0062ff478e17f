"""Sources of prompts, read row by row: JSON lines, JSON, CSV and Parquet files, and datasets of the Hugging Face hub.

Files are not read with `datasets`: errors can name the line or row, no type is guessed, and Parquet is read group by
group, where `datasets` would keep the whole file in memory. A hub dataset is read from the cache of `datasets` on disk,
so that it is downloaded once.
"""

import csv
import gzip
import json
import re
import zlib
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, cast

import pyarrow as pa
import pyarrow.parquet as pq

from omniopd.data.columns import Columns, check_columns
from omniopd.errors import DataError, one_line

if TYPE_CHECKING:
    from datasets import Dataset

SUFFIXES = (".jsonl", ".json", ".parquet", ".csv")
BATCH = 1000  # rows that are converted to Python objects at once
_SPACE = re.compile(r"\s*")
_END = re.compile(r"\]\s*")
_COMMA = re.compile(r"\s*(?:,\s*(?!\s*\])|(?=\]))")
READ_AT_ONCE = 2**16  # bytes of a Parquet file
PEEKED = 100  # JSON rows that are read for the names of their fields


@dataclass(frozen=True)
class Source:
    """A file, or a split of a hub dataset, as params name it.

    >>> str(Source("openai/gsm8k", path=None, subset="main", split="train"))
    'openai/gsm8k (main, train)'
    """

    name: str
    path: Path | None  # None: on the hub
    subset: str | None = None
    split: str = "train"
    setting: str = "prompts.source"  # of params.yaml or the command line, for messages
    revision: str | None = None  # the commit on the hub; None: the newest

    @property
    def kind(self) -> str:
        """hub, or the format of the file by its suffix; any other suffix means JSON lines."""
        if self.path is None:
            return "hub"
        suffix = self.path.with_suffix("").suffix if self.path.suffix == ".gz" else self.path.suffix
        return suffix[1:] if suffix in SUFFIXES else "jsonl"

    def __str__(self) -> str:
        if self.path is not None:
            return str(self.path)
        return f"{self.name} ({', '.join(filter(None, [self.subset, self.split]))})"


def source_of(
    name: str,
    root: Path,
    *,
    subset: str | None,
    split: str,
    setting: str = "prompts.source",
    revision: str | None = None,
) -> Source:
    """The source of a name in params: a file that exists or has a file's suffix, else owner/name on the hub."""
    path = root / name
    looks_like_file = name.removesuffix(".gz").endswith(SUFFIXES)
    if path.exists() or looks_like_file or not re.fullmatch(r"\w[\w.-]*/[\w.-]+", name):
        return Source(name, path, setting=setting)
    return Source(name, None, subset, split, setting, revision)


class Row(NamedTuple):
    """One row: a line that is not parsed yet, or fields by name."""

    source: Source
    number: int  # from 1; of JSON lines the line
    content: bytes | Mapping[str, Any]

    @property
    def place(self) -> str:
        """The source and the line or row, to begin a message."""
        return f"{self.source}{':' if self.source.kind == 'jsonl' else ', row '}{self.number}"

    def values(self) -> Mapping[str, Any]:
        """The fields.

        Raises:
            DataError: the line is no JSON object.
        """
        if not isinstance(self.content, bytes):
            return self.content
        try:
            values = json.loads(self.content.decode(), object_pairs_hook=_once_each)
        except _Twice as error:
            raise DataError(f"{self.place}: {error}; delete one of the two") from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"{self.place}: not a JSON object ({error}); fix or delete the line") from error
        if not isinstance(values, dict):
            raise DataError(
                f"{self.place}: found {type(values).__name__}, not a JSON object with 'id' and 'prompt'"
            )
        return values


class _Twice(ValueError):
    """A key occurs twice in one object."""


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(f"the key {next(name for name in names if names.count(name) > 1)!r} occurs twice")
    return values


def stream(source: Source, columns: Columns) -> Iterator[Row]:
    """The rows of a source, with few of them in memory at a time; blank lines are skipped.

    Of typed sources only the columns that `columns` names are read.

    Raises:
        DataError: the source is missing, unreachable or damaged, or lacks a column (checked here except for JSON).
    """
    match source.kind:
        case "jsonl":
            return _lines(source)
        case "csv":
            return _csv_rows(source, columns)
        case "parquet":
            return _parquet_rows(source, columns)
        case "json":
            return _json_rows(source)
        case _:
            return _hub_rows(source, columns)


def fields_of(source: Source) -> Mapping[str, Any]:
    """The fields of the rows by name; of JSON those that are not null in all of the first PEEKED rows.

    Raises:
        DataError: the source is missing, unreachable or damaged.
    """
    match source.kind:
        case "csv":
            with _reading(source) as file:
                return dict.fromkeys(_csv_reader(file).fieldnames or [], "")
        case "parquet":
            with _reading(source) as file:
                return _fields(pq.ParquetFile(file).schema_arrow)
        case "hub":
            return _hub_dataset(source)[1]
    fields: dict[str, Any] = {}
    for row in islice(_lines(source) if source.kind == "jsonl" else _json_rows(source), PEEKED):
        fields |= {name: value for name, value in row.values().items() if value is not None}
    return fields


def _unreadable(source: Source, why: object) -> DataError:
    text = " ".join(str(why).split())[:300]
    return DataError(
        f"{source}: cannot be read ({text}); name a file of JSON lines, JSON, CSV or Parquet in {source.setting}"
    )


@contextmanager
def _reading(source: Source) -> Iterator[IO[bytes]]:
    """The open file; an error while it is read names the source."""
    assert source.path is not None
    open_file = gzip.open if source.path.suffix == ".gz" else open
    try:
        file = open_file(source.path, "rb")
    except FileNotFoundError as error:
        raise DataError(f"{source}: no such file of prompts; fix {source.setting} in params.yaml") from error
    except OSError as error:
        raise _unreadable(source, error.strerror) from error
    with file:
        try:
            yield cast(IO[bytes], file)
        except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
            raise _unreadable(source, error) from error


def _lines(source: Source) -> Iterator[Row]:
    with _reading(source) as file:
        for number, line in enumerate(file, start=1):
            line = line.removeprefix(BOM_UTF8) if number == 1 else line
            if line and not line.isspace():
                yield Row(source, number, line)


def _json_rows(source: Source) -> Iterator[Row]:
    """The objects of a JSON file: those of one list, or one after the other."""
    with _reading(source) as file:
        text = file.read().decode("utf-8-sig")
    decoder = json.JSONDecoder(object_pairs_hook=_once_each)
    at, number = _SPACE.match(text).end(), 0  # pyright: ignore[reportOptionalMemberAccess]
    in_list = text.startswith("[", at)
    between = _COMMA if in_list else _SPACE
    at = _SPACE.match(text, at + in_list).end()  # pyright: ignore[reportOptionalMemberAccess]
    while at < len(text) and not (in_list and text.startswith("]", at)):
        number += 1
        try:
            values, at = decoder.raw_decode(text, at)
        except _Twice as error:
            raise DataError(f"{source}, row {number}: {error}; delete one of the two") from error
        except (ValueError, RecursionError) as error:
            raise _unreadable(source, f"row {number}: {error}") from error
        if not isinstance(values, dict):
            raise DataError(f"{source}, row {number}: found {type(values).__name__}, not a JSON object")
        yield Row(source, number, values)
        end = between.match(text, at)
        if end is None:
            raise _unreadable(source, f"no comma after row {number}")
        at = end.end()
    if in_list and _END.fullmatch(text, at) is None:
        raise _unreadable(source, f"the list does not end after row {number}, or something follows it")


def _csv_reader(file: IO[bytes]) -> "csv.DictReader[str]":
    text = (line.decode("utf-8-sig" if number == 0 else "utf-8") for number, line in enumerate(file))
    return csv.DictReader(text, strict=True)


def _csv_rows(source: Source, columns: Columns) -> Iterator[Row]:
    """Every field as text; an empty one is missing."""
    with _reading(source) as file:
        reader = _csv_reader(file)
        check_columns(source, columns, dict.fromkeys(reader.fieldnames or [], ""))
        for number, values in enumerate(reader, start=1):
            yield Row(source, number, {name: value or None for name, value in values.items() if name})


def _parquet_rows(source: Source, columns: Columns) -> Iterator[Row]:
    number = 0
    with _reading(source) as binary:
        file = pq.ParquetFile(binary, pre_buffer=False, buffer_size=READ_AT_ONCE)
        check_columns(source, columns, _fields(file.schema_arrow))
        names = [name for name in file.schema_arrow.names if name in columns.tops()]
        for group in range(file.num_row_groups):
            for batch in file.iter_batches(BATCH, row_groups=[group], columns=names, use_threads=False):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(source, number, values)


def _fields(schema: pa.Schema | pa.StructType) -> dict[str, Any]:
    """The types of fields by name; of a structure a nested mapping."""
    return {
        field.name: _fields(field.type) if isinstance(field.type, pa.StructType) else field.type
        for field in schema
    }


def _hub_rows(source: Source, columns: Columns) -> Iterator[Row]:
    dataset, fields = _hub_dataset(source)
    check_columns(source, columns, fields)
    dataset = dataset.select_columns([name for name in fields if name in columns.tops()])
    number = 0
    try:
        for batch in cast(Iterator[dict[str, list[Any]]], dataset.iter(batch_size=BATCH)):
            for values in zip(*batch.values(), strict=True):
                number += 1
                yield Row(source, number, dict(zip(batch, values, strict=True)))
    except Exception as error:  # libraries raise errors of any type for damaged data
        raise _unreadable(source, error) from error


def _hub_dataset(source: Source) -> "tuple[Dataset, Mapping[str, Any]]":
    """The split, memory-mapped from the cache on disk (downloaded first if it is not there), and its fields."""
    import datasets
    from datasets.exceptions import DatasetNotFoundError, DatasetsError

    datasets.disable_progress_bars()
    revision: dict[str, Any] = {} if source.revision is None else {"revision": source.revision}
    try:
        # No code of a dataset is run.
        dataset = datasets.load_dataset(source.name, source.subset, split=source.split, **revision)
    except ConnectionError as error:
        raise DataError(
            f"{source}: the hub cannot be reached ({one_line(error)}); try again with a network, or load the dataset "
            f"where there is one, save it with to_parquet, and name that file in {source.setting}"
        ) from error
    except DatasetNotFoundError as error:
        raise DataError(
            f"{source}: neither a file nor a dataset of the hub ({one_line(error)}); fix "
            f"{source.setting}, or log in with `hf auth login` where it asks for that"
        ) from error
    except ValueError as error:
        parts = " and ".join(re.sub(r"\w+$", name, source.setting) for name in ("subset", "split"))
        remedy = f"name a file in {source.setting}" if source.setting.startswith("--") else f"fix {parts}"
        raise DataError(f"{source}: the dataset has no such part ({one_line(error)}); {remedy}") from error
    except (DatasetsError, RuntimeError, OSError) as error:
        raise DataError(
            f"{source}: the dataset cannot be loaded ({one_line(error)}); save it as Parquet where it can, and name "
            f"that file in {source.setting}"
        ) from error
    try:
        return dataset, cast(Mapping[str, Any], dataset.features or next(iter(dataset), {}))
    except Exception as error:  # likewise
        raise _unreadable(source, error) from error
