"""Prompts drawn from a file, in rows per second and peak memory, against the same with all rows in memory.

10,000 of them are trained on. `python -m benchmarks.prompts FORM FILE` prints rows a second and the peak of one form,
in a process of its own, in MiB above its imports.
"""

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.figure import Figure
from omniopd.data.columns import PLAIN
from omniopd.data.sources import source_of
from omniopd.data.split import Rules, draw

SIZES = {100_000: 3, 1_000_000: 1}  # rows, and how often each form is measured
NUM_TRAIN, NUM_MEASURED = 10_000, 1_000


def streamed(path: Path) -> int:
    """Ours: splits by hash, texts once."""
    rules = Rules(PLAIN, NUM_TRAIN, NUM_MEASURED // 2, NUM_MEASURED // 2)
    _, findings = draw(source_of(path.name, path.parent, subset=None, split="train"), rules, [0])
    return findings.num_rows


def in_memory(path: Path) -> int:
    """Every line parsed into a list, shuffled and cut."""
    with path.open() as file:
        rows = [json.loads(line) for line in file]
    return _cut(rows)


def loaded(path: Path) -> int:
    """The same from what `datasets` loads, the making of its cache included."""
    with tempfile.TemporaryDirectory() as cache:
        kind = {".jsonl": "json", ".parquet": "parquet"}[path.suffix]
        rows = datasets.load_dataset(kind, data_files=str(path), split="train", cache_dir=cache).to_list()
    return _cut(rows)


def _cut(rows: list[dict[str, Any]]) -> int:
    once = list({row["prompt"]: row for row in rows}.values())
    random.Random(0).shuffle(once)
    assert len(once[: NUM_TRAIN + NUM_MEASURED]) == NUM_TRAIN + NUM_MEASURED
    return len(rows)


FORMS: dict[str, Callable[[Path], int]] = {form.__name__: form for form in (streamed, in_memory, loaded)}
COMPARED = {".jsonl": ("in_memory", "loaded"), ".parquet": ("loaded",)}


def figures() -> list[Figure]:
    """JSON lines and Parquet at each size."""
    with tempfile.TemporaryDirectory() as folder:
        return [
            figure
            for num_rows, rounds in SIZES.items()
            for path in _files(Path(folder), num_rows)
            for figure in _figures(path, num_rows, rounds)
        ]


def _figures(path: Path, num_rows: int, rounds: int) -> Iterator[Figure]:
    names = ("streamed", *COMPARED[path.suffix])
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            measured[name].append(_measured_apart(name, path))
    rates, peaks = (
        {name: statistics.median(pair[i] for pair in pairs) for name, pairs in measured.items()}
        for i in (0, 1)
    )
    what = f"{num_rows:,} prompts of {path.suffix[1:]}"
    for name in names[1:]:
        yield Figure(what, "rows/s", rates["streamed"], name, rates[name])
        yield Figure(f"{what}: peak", "MiB", peaks["streamed"], name, peaks[name])


def _files(folder: Path, num_rows: int) -> list[Path]:
    """The same rows as JSON lines and as Parquet: 30 words each."""
    rng, words = random.Random(0), [f"word{i}" for i in range(5000)]
    lines, parquet = folder / f"{num_rows}.jsonl", folder / f"{num_rows}.parquet"
    with lines.open("w") as file:
        for i in range(num_rows):
            row = {"id": f"p{i}", "prompt": " ".join(rng.choices(words, k=30)), "answer": str(i)}
            file.write(json.dumps(row) + "\n")
    schema = pa.schema([(name, pa.string()) for name in ("id", "prompt", "answer")])
    with lines.open() as file, pq.ParquetWriter(parquet, schema) as writer:
        while batch := [json.loads(line) for _, line in zip(range(10_000), file, strict=False)]:
            writer.write_table(pa.Table.from_pylist(batch, schema))
    return [lines, parquet]


def _measured_apart(form: str, path: Path) -> tuple[float, float]:
    """(rows a second, peak MiB) in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.prompts", form, str(path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    rate, peak = done.stdout.split()[-2:]
    return float(rate), float(peak)


def main() -> None:
    """Print one form's figures."""
    form, path = sys.argv[1:]
    datasets.disable_progress_bars()
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins here
    before = _status_mib("VmRSS")
    start = time.perf_counter()
    num_rows = FORMS[form](Path(path))
    seconds = time.perf_counter() - start
    print(num_rows / seconds, _status_mib("VmHWM") - before)


def _status_mib(name: str) -> float:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
