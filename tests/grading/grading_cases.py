"""Runs a file of graded programs: lines of JSON with a kind, the response, {"prompt", "tests"} and the verdict.

python tests/grading/grading_cases.py cases.jsonl
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omniopd.grading.code.grader import CodeCase, grade_programs

Row = dict[str, Any]


def rows_of(path: Path) -> list[Row]:
    """The rows of code in the file, whose kind begins with `code:`."""
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [row for row in rows if row["kind"].startswith("code:")]


def wrongly_graded(rows: Iterable[Row]) -> list[str]:
    """A line for each row whose verdict is not the expected one."""
    rows = list(rows)
    cases = [CodeCase(row["input"], **json.loads(row["reference"])) for row in rows]
    return [
        f"{row['kind']}: {'wrong' if row['expected'] else 'right'} ({grade.reason}): {row['input']!r:.200}"
        for row, grade in zip(rows, grade_programs(cases), strict=True)
        if grade.is_right is not row["expected"]
    ]


if __name__ == "__main__":
    sys.exit("\n".join(wrongly_graded(rows_of(Path(sys.argv[1])))) or None)
