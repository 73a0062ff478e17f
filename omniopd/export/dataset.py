"""The trajectories, verdicts and rewards that a checkpoint was trained on, as a dataset with its card."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import DatasetCardData

from omniopd.data.layout import RunLayout
from omniopd.data.store import num_rows, read_column
from omniopd.export.licences import UNKNOWN
from omniopd.export.render import rendered
from omniopd.export.selection import Selection

TAGS = ("omniopd", "on-policy-distillation", "synthetic")


@dataclass(frozen=True)
class Kind:
    """A kind of table: its folder, its file of a round, and the column that names a model."""

    name: str
    about: str
    path: Callable[[RunLayout, int], Path]
    model_column: str | None = None


KINDS = (
    Kind(
        "trajectories",
        "a response: prompt and response as text and as tokens, with entropy and log-probability of each token",
        RunLayout.trajectories,
        "writer",
    ),
    Kind(
        "verdicts",
        "what the teacher wrote in place of a chunk of a response: its replies, and their similarity to the chunk",
        RunLayout.verdicts,
        "teacher",
    ),
    Kind("rewards", "the grade of a response", RunLayout.rewards),
)


@dataclass(frozen=True)
class Table:
    """A table that was written.

    >>> Table("rewards", "the grade of a response", 128).num_rows
    128
    """

    name: str
    about: str
    num_rows: int


def write_tables(folder: Path, chosen: Selection) -> list[Table]:
    """Copy the tables of the rounds that trained the checkpoint; those that the method has."""
    tables = []
    for kind in KINDS:
        paths = [kind.path(chosen.run.files, round_) for round_ in range(chosen.round)]
        files = [path for path in paths if path.is_file()]
        if not files:
            continue
        into = folder / kind.name
        into.mkdir()
        for path in files:
            _copy(path, into / path.name, kind.model_column, public=chosen.public)
        tables.append(Table(kind.name, kind.about, sum(map(num_rows, files))))
    return tables


def _copy(path: Path, into: Path, column: str | None, *, public: Callable[[str], str]) -> None:
    """Copy a table byte for byte, unless a model in that column has a name that is not public."""
    names = read_column(path, column) if column else []
    published = [public(name) for name in names]
    if published == names:
        shutil.copyfile(path, into)
        return
    table = pq.ParquetFile(path).read()
    place = table.column_names.index(column)
    table = table.set_column(
        place, table.schema.field(place), pa.array(published, table.schema.field(place).type)
    )
    pq.write_table(table, into, compression="zstd")


def data_card(chosen: Selection, tables: Sequence[Table], *, title: str) -> str:
    """The README.md of the dataset; each table is a configuration of `datasets`, the first the default."""
    configs = [
        {"config_name": table.name, "data_files": f"{table.name}/*.parquet"}
        | ({"default": True} if i == 0 else {})
        for i, table in enumerate(tables)
    ]
    data = DatasetCardData(license=UNKNOWN, tags=list(TAGS), configs=configs)
    return rendered(
        "data_card.md.j2",
        data,
        title=title,
        run=chosen.run.files.root.name,
        student=chosen.student,
        teacher=chosen.teacher,
        teacher_writes=chosen.run.config.method.source == "teacher",
        prompts=chosen.prompts,
        tables=tables,
        names=[table.name for table in tables],
        num_rounds=chosen.round,
    )
