"""Sources of prompts, read row by row: JSON lines, JSON, CSV and Parquet files, and datasets of the Hugging Face hub.

Files are read here: a mistake is then named by its line or row, and no type is guessed. Parquet is read group by group:
`datasets` holds what it has read of a file until its end. A hub dataset goes through `datasets`, by way of its cache on
disk, so that it is downloaded once.
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

from omniopd.data.columns import Columns, has_path, quoted
from omniopd.errors import DataError, one_line

if TYPE_CHECKING:
    from datasets import Dataset

SUFFIXES = (".jsonl", ".json", ".parquet", ".csv")
BATCH = 1000  # rows made into Python's objects at once
_SPACE = re.compile(r"\s*")
_END = re.compile(r"\]\s*")
_COMMA = re.compile(r"\s*(?:,\s*(?!\s*\])|(?=\]))")
READ_AT_ONCE = 2**16  # bytes of a Parquet file
PEEKED = 100  # JSON lines that are looked at for their fields


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
    setting: str = "prompts.source"  # what of params.yaml, or of the command line, names it
    revision: str | None = None  # the commit on the hub; None: the newest

    @property
    def kind(self) -> str:
        """hub, or how the file is read: by the end of its name, and as JSON lines where that says nothing."""
        if self.path is None:
            return "hub"
        suffix = self.path.with_suffix("").suffix if self.path.suffix == ".gz" else self.path.suffix
        return suffix[1:] if suffix in SUFFIXES else "jsonl"

    def __str__(self) -> str:
        if self.path is not None:
            return str(self.path)
        return f"{self.name} ({', '.join(filter(None, [self.subset, self.split]))})"


def source_of(
    name: str, root: Path, *, subset: str | None, split: str, setting: str = "prompts.source"
) -> Source:
    """What a name in params means: a file that is there or is called like one, else owner/name on the hub."""
    path = root / name
    looks_like_file = name.removesuffix(".gz").endswith(SUFFIXES)
    if path.exists() or looks_like_file or not re.fullmatch(r"\w[\w.-]*/[\w.-]+", name):
        return Source(name, path, setting=setting)
    return Source(name, None, subset, split, setting)


class Row(NamedTuple):
    """One row: a line that is not parsed yet, or fields by name."""

    source: Source
    number: int  # from 1; of JSON lines the line
    content: bytes | Mapping[str, Any]

    @property
    def place(self) -> str:
        """Where it stands, to begin a sentence."""
        of_row = ":" if self.source.kind == "jsonl" else ", row "
        return f"{self.source}{of_row}{self.number}"

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
    """A key stands twice in one object."""


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(f"the key {next(name for name in names if names.count(name) > 1)!r} stands there twice")
    return values


def stream(source: Source, columns: Columns) -> Iterator[Row]:
    """The rows of a source, a few at a time in memory; blank lines are passed over.

    Where columns have types, those alone are read that `columns` lead to.

    Raises:
        DataError: the source is missing, out of reach or damaged, or is no JSON and has no such column.
    """
    match source.kind:
        case "jsonl":
            yield from _lines(source)
        case "csv":
            yield from _csv_rows(source, columns)
        case "parquet":
            yield from _parquet_rows(source, columns)
        case "json":
            yield from _json_rows(source)
        case _:
            yield from _typed_rows(source, columns)


def fields_of(source: Source) -> Mapping[str, Any]:
    """The fields that rows have, by name: of JSON those of the first PEEKED, elsewhere of all.

    Raises:
        DataError: the source is missing, out of reach or damaged.
    """
    match source.kind:
        case "jsonl":
            return {
                name: value for row in islice(_lines(source), PEEKED) for name, value in row.values().items()
            }
        case "csv":
            with _reading(source) as file:
                return dict.fromkeys(_csv_reader(file).fieldnames or [], "")
        case "json":
            return {
                name: value
                for row in islice(_json_rows(source), PEEKED)
                for name, value in row.values().items()
                if value is not None
            }
        case "parquet":
            with _reading(source) as file:
                return _fields(pq.ParquetFile(file).schema_arrow)
        case _:
            return _typed(source)[1]


def check_columns(source: Source, columns: Columns, fields: Mapping[str, Any]) -> None:
    """Raise where a mapped column is not among the fields that rows have; one of the plain names may be absent.

    Raises:
        DataError: naming the column, and those that there are.
    """
    for thing, path in {"prompt": columns.prompt, **columns.own_names()}.items():
        if not has_path(fields, path):
            raise missing_column(source, thing, path, fields)


def missing_column(source: Source, thing: str, path: str, fields: Mapping[str, Any]) -> DataError:
    """The sentence for a mapped column that is not there."""
    otherwise = "" if thing == "prompt" else ", or null where there is none"
    return DataError(
        f"{source}: has no column {path!r}; it has {quoted(_paths(fields))}; name one of them in "
        f"prompts.columns.{thing}{otherwise}"
    )


def _paths(fields: Mapping[str, Any]) -> list[str]:
    """The names of fields, and the paths into those that are structures."""
    found = []
    for name, value in fields.items():
        inner = value if isinstance(value, Mapping) else {}
        found += [f"{name}.{path}" for path in _paths(inner)] or [name]
    return found


def _opened(source: Source) -> IO[bytes]:
    assert source.path is not None
    try:
        return cast(
            IO[bytes], gzip.open(source.path) if source.path.suffix == ".gz" else source.path.open("rb")
        )
    except FileNotFoundError as error:
        raise DataError(f"{source}: no such file of prompts; fix {source.setting} in params.yaml") from error
    except OSError as error:
        raise _unreadable(source, error.strerror) from error


def _unreadable(source: Source, why: object) -> DataError:
    text = " ".join(str(why).split())[:300]
    return DataError(
        f"{source}: cannot be read ({text}); name a file of JSON lines, JSON, CSV or Parquet in {source.setting}"
    )


@contextmanager
def _reading(source: Source) -> Iterator[IO[bytes]]:
    """The file, open; damage that is met in it is told by its name."""
    with _opened(source) as file:
        try:
            yield file
        except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
            raise _unreadable(source, error) from error


def _lines(source: Source) -> Iterator[Row]:
    with _reading(source) as file:
        for number, line in enumerate(file, start=1):
            line = line.removeprefix(BOM_UTF8) if number == 1 else line
            if line and not line.isspace():
                yield Row(source, number, line)


def _json_rows(source: Source) -> Iterator[Row]:
    """The objects of a JSON file: those of one list, or one after the other. Types stay as they stand there."""
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
    """Every field as the text that stands there; an empty one is missing."""
    with _reading(source) as file:
        reader = _csv_reader(file)
        check_columns(source, columns, dict.fromkeys(reader.fieldnames or [], ""))
        for number, values in enumerate(reader, start=1):
            yield Row(source, number, {name: value or None for name, value in values.items() if name})


def _parquet_rows(source: Source, columns: Columns) -> Iterator[Row]:
    number = 0
    with _reading(source) as opened:
        file = pq.ParquetFile(opened, pre_buffer=False, buffer_size=READ_AT_ONCE)
        check_columns(source, columns, _fields(file.schema_arrow))
        names = [name for name in file.schema_arrow.names if name in columns.tops()]
        for group in range(file.num_row_groups):
            for batch in file.iter_batches(BATCH, row_groups=[group], columns=names, use_threads=False):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(source, number, values)


def _fields(of: pa.Schema | pa.StructType) -> dict[str, Any]:
    """The fields of a schema by name; those of a structure as a mapping of their own."""
    return {
        field.name: _fields(field.type) if isinstance(field.type, pa.StructType) else field.type
        for field in of
    }


def _typed_rows(source: Source, columns: Columns) -> Iterator[Row]:
    dataset, fields = _typed(source)
    check_columns(source, columns, fields)
    tops = columns.tops()
    batches = dataset.select_columns([name for name in fields if name in tops]).iter(batch_size=BATCH)
    number = 0
    while True:
        try:
            batch = cast(dict[str, list[Any]], next(batches, None))
        except Exception as error:  # likewise, in the midst of it
            raise _unreadable(source, error) from error
        if batch is None:
            return
        for values in zip(*batch.values(), strict=True):
            number += 1
            yield Row(source, number, dict(zip(batch, values, strict=True)))


def _typed(source: Source) -> "tuple[Dataset, Mapping[str, Any]]":
    """What `datasets` reads, and the fields of its rows."""
    dataset = _hub_dataset(source)
    try:
        return dataset, cast(Mapping[str, Any], dataset.features or next(iter(dataset), {}))
    except Exception as error:  # whatever damage makes the libraries raise
        raise _unreadable(source, error) from error


def _hub_dataset(source: Source) -> "Dataset":
    """The split, memory-mapped from the cache on disk, into which it is downloaded first where it is not there."""
    import datasets
    from datasets.exceptions import DatasetNotFoundError, DatasetsError

    datasets.disable_progress_bars()
    revision: dict[str, Any] = {} if source.revision is None else {"revision": source.revision}
    try:
        # No code of a dataset is run.
        return datasets.load_dataset(source.name, source.subset, split=source.split, **revision)
    except ConnectionError as error:
        raise DataError(
            f"{source}: the hub cannot be reached ({one_line(error)}); try again with a network, or load the dataset "
            f"where there is one, save it with to_parquet, and name that file in {source.setting}"
        ) from error
    except DatasetNotFoundError as error:
        raise DataError(
            f"{source}: neither a file beside params.yaml nor a dataset of the hub ({one_line(error)}); fix "
            f"{source.setting}, or log in with `hf auth login` where it asks for that"
        ) from error
    except ValueError as error:
        block = source.setting.rpartition(".")[0]
        remedy = f"fix {block}.subset and {block}.split" if block else f"name a file in {source.setting}"
        raise DataError(f"{source}: the dataset has no such part ({one_line(error)}); {remedy}") from error
    except (DatasetsError, RuntimeError, OSError) as error:
        raise DataError(
            f"{source}: the dataset cannot be loaded ({one_line(error)}); save it as Parquet where it can, and name "
            f"that file in {source.setting}"
        ) from error
