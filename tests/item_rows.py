"""Rows of benchmarks in the form of their datasets, in files of every kind."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from omniopd.config import Benchmarks
from omniopd.config.benchmarks import Measurement, measurements
from omniopd.evaluation.items import Items, read_items

Rows = list[dict[str, Any]]

WORDS: Rows = [
    {"question": f"Ann has {i} pens and buys one. How many?", "answer": f"{i} + 1 = {i + 1}\n#### {i + 1}"}
    for i in range(40)
]
FUNCTIONS: Rows = [
    {
        "task_id": f"HumanEval/{i}", "prompt": f"\ndef add_{i}(x):\n    '''Add {i}.'''\n", "canonical_solution": "…",
        "entry_point": f"add_{i}", "test": f"def check(f):\n    assert f(1) == {i + 1}\n",
    }
    for i in range(3)
]  # fmt: skip
TASKS: Rows = [
    {
        "task_id": i, "text": f"Write a function to add {i}.", "code": "…", "test_setup_code": "",
        "test_list": [f"assert add(1) == {i + 1}", f"assert add({{}}) == {i}"], "challenge_test_list": [],
    }
    for i in range(11, 14)
]  # fmt: skip
CONTEST: Rows = [
    {
        "question_id": "abc", "question_content": "Print {starter_code} twice.", "starter_code": "", "metadata": "{}",
        "public_test_cases": '[{"input": "a", "output": "aa", "testtype": "stdin"}]', "private_test_cases": "eJzz",
    },
    {
        "question_id": "3700", "question_content": "Sum two numbers.", "metadata": '{"func_name": "sum"}',
        "starter_code": "class Solution:\n    def sum(self, a, b):\n        ",
        "public_test_cases": "[]", "private_test_cases": "eJyL",
    },
]  # fmt: skip


def write(path: Path, rows: Rows) -> str:
    """The rows as the end of the name says; returns the name."""
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    match path.name.split(".", 1)[1]:
        case "jsonl":
            path.write_text(lines)
        case "jsonl.gz":
            path.write_bytes(gzip.compress(lines.encode()))
        case "json":
            path.write_text(json.dumps(rows))
        case "parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        case "csv":
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, rows[0])
                writer.writeheader()
                writer.writerows(rows)
    return path.name


def measurement(name: str, folder: Path, *, file: str | None = None, **settings: Any) -> Measurement:
    files = {} if file is None else {name: file}
    suite = Benchmarks.model_validate({"suite": [name], "files": files, **settings})
    [one] = measurements(suite, folder)
    return one


def read(name: str, folder: Path, rows: Rows, file: str = "items.jsonl", **settings: Any) -> Items:
    file = write(folder / file, rows)
    return read_items(measurement(name, folder, file=file, **settings))
