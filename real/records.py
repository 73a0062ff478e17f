"""The grader of `make real`: a response is right where it is the record, whatever its white space."""

import json
from collections.abc import Sequence
from typing import Any, ClassVar

from omniopd.data.prompts import Reference
from omniopd.grading.grade import Grade
from omniopd.grading.graders import Case

FIELDS = {"who", "where", "day"}


class RecordGrader:
    """Compares the record in JSON with that of the sentence."""

    needs: ClassVar[Reference] = "answer"

    def grade(self, cases: Sequence[Case]) -> list[Grade]:
        return [_grade(record_of(case.response), case.prompt.answer or "") for case in cases]


def record_of(text: str) -> dict[str, Any] | None:
    """The record that a text is; None where it is none."""
    try:
        record = json.loads(text)
    except ValueError:
        return None
    return record if isinstance(record, dict) and set(record) == FIELDS else None


def _grade(record: dict[str, Any] | None, answer: str) -> Grade:
    if record is None:
        return Grade(False, None, "no record")
    is_right = record == json.loads(answer)
    return Grade(is_right, json.dumps(record), "" if is_right else "another record")
