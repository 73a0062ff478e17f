"""Names that docs/grading.md once had for the graders still work, and say where they are now."""

import importlib
import sys

import pytest

MOVED = {
    "code": ("omniopd.grading.code.grader", "grade_programs"),
    "math_grading": ("omniopd.grading.math.grader", "grade_math"),
    "programs": ("omniopd.grading.code.programs", "program_of"),
    "sandbox": ("omniopd.grading.code.sandbox", "run_program"),
}


@pytest.mark.parametrize("name", MOVED)
def test_the_old_name_is_the_same_and_names_the_new_one(name: str, monkeypatch: pytest.MonkeyPatch):
    module, function = MOVED[name]
    monkeypatch.delitem(sys.modules, f"omniopd.evaluation.{name}", raising=False)
    with pytest.deprecated_call(match=module):
        old = importlib.import_module(f"omniopd.evaluation.{name}")
    assert getattr(old, function) is getattr(importlib.import_module(module), function)
