"""A model on a benchmark in a user's file: its turns, sampling and grader, and what is measured again after an edit."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
from benchmark_files import CAPITALS, write_capitals
from scripted_models import Scripted, results, subject

from omniopd.config import Benchmarks
from omniopd.config.benchmarks import measurements
from omniopd.data.decoding import Decoding
from omniopd.data.layout import Layout
from omniopd.errors import ConfigError
from omniopd.evaluation.suites import Measured, measure_suite


def capital(text: str, seed: int) -> str:
    del seed
    return f"It is {CAPITALS[text.split('capital of ')[-1].split('?')[0]]}"


def of_file(
    folder: Path, sampler: Scripted, *, entry: dict[str, Any] | None = None, **changes: Any
) -> Measured:
    path, layout = write_capitals(folder, **changes), Layout(folder)
    suite_ = measurements(
        Benchmarks.model_validate({"suite": [{"name": path.name, **(entry or {})}]}), folder
    )
    [result] = measure_suite(
        subject(sampler), suite_, layout, into=layout.benchmarks("m"), on_items=lambda *_: None
    )
    return result


def test_its_items_are_asked_after_its_turns_with_its_sampling_and_graded_by_its_pattern(tmp_path: Path):
    sampler = Scripted(capital)

    result = of_file(tmp_path, sampler)

    [decoding] = sampler.decodings
    assert decoding == Decoding(0.5, stop=("\n",))
    assert sampler.limits == {(8, 0.5)}
    assert [len(seeds) for _, seeds in sampler.asked] == [2] * 4
    text = sampler.asked[0][0]
    places = [
        text.index(part) for part in ("one word.", "capital of Italy?", "It is Rome.", "capital of France?")
    ]
    assert places == sorted(places)
    assert (result.name, result.record["mean"], result.record["num_samples"]) == ("capitals", 1.0, 2)
    assert (tmp_path / "metrics" / "benchmarks" / "m" / "capitals.json").is_file()


@pytest.mark.parametrize(
    "changes",
    [
        {"template": "Say the capital of {prompt}?"}, {"system": "Answer."}, {"examples": []},
        {"response_pattern": r"It (is \w+)"}, {"grader": "math", "response_pattern": None},
        {"sampling": {"temperature": 0.6, "num_samples": 2, "max_new_tokens": 8, "stop": ["\n"]}},
        {"sampling": {"temperature": 0.5, "num_samples": 2, "max_new_tokens": 8}},
        {"entry": {"top_p": 0.5}}, {"entry": {"stop": []}}, {"entry": {"num_items": 3}},
    ],
    ids=str,
)  # fmt: skip
def test_an_edited_benchmark_is_measured_again(tmp_path: Path, changes: dict[str, Any]):
    of_file(tmp_path, Scripted(capital))
    sampler = Scripted(capital)

    of_file(tmp_path, sampler, **changes)

    assert sampler.num_opened == 1


def test_what_decides_no_score_may_be_edited(tmp_path: Path):
    first = of_file(tmp_path, Scripted(capital))
    sampler = Scripted(capital)

    second = of_file(tmp_path, sampler, about="Capitals.", licence="CC0")

    assert sampler.num_opened == 0
    assert second.record == first.record


GRADER = """
from omniopd.grading import Grade

class Ends:
    needs = "answer"

    def grade(self, cases):
        return [Grade(case.response.endswith(case.prompt.answer{how}), case.response) for case in cases]
"""


def test_a_changed_grader_of_ones_own_grades_the_kept_responses_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "path", [*sys.path])
    changes = {"grader": "ends_of_mine:Ends", "response_pattern": None}
    module = tmp_path / "ends_of_mine.py"  # next to the file of the benchmark
    module.write_text(GRADER.format(how=""))
    first = of_file(tmp_path, Scripted(capital), **changes)
    module.write_text(GRADER.format(how=".upper()"))
    monkeypatch.delitem(sys.modules, "ends_of_mine")
    importlib.invalidate_caches()
    sampler = Scripted(capital)

    second = of_file(tmp_path, sampler, **changes)

    assert (first.record["mean"], second.record["mean"]) == (1.0, 0.0)
    assert sampler.num_opened == 0
    assert [item.response for item in results(second)] == [item.response for item in results(first)]


def test_a_grader_of_ones_own_that_cannot_be_imported_is_named_with_the_benchmark(tmp_path: Path):
    with pytest.raises(ConfigError, match="^capitals: grader: 'no_such:Grader' cannot be imported"):
        of_file(tmp_path, Scripted(capital), grader="no_such:Grader", response_pattern=None)
