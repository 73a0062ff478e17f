"""Items from the hub, and whole datasets."""

import json
from pathlib import Path
from typing import Any

import datasets
import pytest
from benchmark_files import write_capitals
from item_rows import CONTEST, TASKS, measurement, read

from omniopd.config.benchmarks import benchmark_named
from omniopd.config.schema.benchmark import Benchmark
from omniopd.errors import DataError
from omniopd.evaluation.items import Items, read_items

# --- the hub


@pytest.mark.parametrize("name", ["gsm8k", "livecodebench"])
def test_a_hub_that_cannot_be_reached_is_an_error_that_shows_how_to_use_a_local_file(
    tmp_path: Path, name: str
):
    with pytest.raises(DataError, match=f"the hub cannot be reached .*to_parquet.* --file {name}=PATH$"):
        read_items(measurement(name, tmp_path))  # the suite is offline


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the hub answers, in place of a network; and what it was asked."""
    answers: dict[str, Any] = {}

    def load_dataset(name: str, subset: str | None = None, **asked: Any) -> datasets.Dataset:
        answers["asked"] = (name, subset, asked)
        if isinstance(answers["gives"], Exception):
            raise answers["gives"]
        return datasets.Dataset.from_list(answers["gives"])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return answers


def test_a_dataset_of_ones_own_is_asked_for_by_its_part(tmp_path: Path, hub: dict[str, Any]):
    hub["gives"] = [{"prompt": "1+1?", "answer": "2"}]
    part = {"subset": "easy", "split": "dev", "revision": "abc"}
    write_capitals(tmp_path, source="someone/sums", columns=None, template=None, **part)

    assert len(read_items(measurement("capitals.yaml", tmp_path)).prompts) == 1
    assert hub["asked"] == ("someone/sums", "easy", {"split": "dev", "revision": "abc"})
    hub["gives"] = ValueError("Unknown split")
    with pytest.raises(
        DataError, match=r"no such part .*; fix .*capitals.yaml: subset and .*capitals.yaml: split"
    ):
        read_items(measurement("capitals.yaml", tmp_path))


def test_the_hub_is_asked_for_the_benchmarks_own_commit(tmp_path: Path, hub: dict[str, Any]):
    hub["gives"] = TASKS
    mbpp = benchmark_named("mbpp")
    items = read_items(measurement("mbpp", tmp_path))

    assert hub["asked"] == (
        "google-research-datasets/mbpp",
        "full",
        {"split": "test", "revision": mbpp.revision},
    )
    assert items.prompts == read("mbpp", tmp_path, TASKS).prompts
    assert items.as_record()["revision"] == mbpp.revision


def test_without_a_commit_the_newest_is_asked_for(tmp_path: Path, hub: dict[str, Any]):
    hub["gives"] = CONTEST
    read_items(measurement("livecodebench", tmp_path))

    assert hub["asked"] == ("lighteval/code_generation_lite", "v6", {"split": "test"})


def test_a_dataset_whose_owner_changed_it_is_refused_with_the_columns_that_it_has(
    tmp_path: Path, hub: dict[str, Any]
):
    hub["gives"] = [{"problem": "x?", "target": 1}]
    with pytest.raises(
        DataError, match="no column 'answer'; it has 'problem', 'target'; .* --file aime25=PATH"
    ):
        read_items(measurement("aime25", tmp_path))
    hub["gives"] = ValueError("Unknown split")
    with pytest.raises(DataError, match=r"no such part \(Unknown split\); name a file in --file aime25=PATH"):
        read_items(measurement("aime25", tmp_path))


# --- the real thing


def real(name: str, file: str, folder: Path) -> tuple[Benchmark, Items]:
    return benchmark_named(name), read_items(measurement(name, folder, file=file))


def test_gsm8k_is_read_whole(shared_data: Path):
    benchmark, items = real("gsm8k", "gsm8k/test.jsonl", shared_data)

    assert len(items.prompts) == benchmark.expected_rows
    assert items.remarks() == []
    assert all(
        prompt.answer and prompt.answer.replace(",", "").lstrip("-").isdigit() for prompt in items.prompts
    )


def test_humaneval_is_read_whole(shared_data: Path):
    benchmark, items = real("humaneval", "humaneval/HumanEval.jsonl.gz", shared_data)

    assert len(items.prompts) == benchmark.expected_rows
    assert items.remarks() == []
    assert all({"test", "entry_point"} == json.loads(prompt.tests or "").keys() for prompt in items.prompts)
