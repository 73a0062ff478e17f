"""A model on benchmarks: prompts, grades, resuming an interrupted measurement, notes and errors."""

import functools
import importlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from benchmark_files import CAPITALS, write_capitals
from evalplus_rows import humaneval_row, mbpp_row
from mlflow import MlflowClient
from projects import Project
from text_models import save_text_model, text_tokenizer

from omniopd.config import Benchmarks, load_params
from omniopd.config.benchmarks import measurements
from omniopd.config.schema.evaluation import Example
from omniopd.data.decoding import Decoding
from omniopd.data.layout import Layout
from omniopd.data.records import ItemResult
from omniopd.data.store import read_json, read_records
from omniopd.errors import ConfigError, ModelError, RunError
from omniopd.evaluation import suites as stage
from omniopd.evaluation.subjects import folder_of, measure_model
from omniopd.evaluation.suites import Measured, Subject, measure_suite
from omniopd.models.chat import Chat
from omniopd.models.generation import Generation
from omniopd.sampling.responses import Writer
from omniopd.sampling.samplers import Sample

TOKENIZER = text_tokenizer()
CHAT = Chat(TOKENIZER)
END = TOKENIZER.eos_token_id


class Scripted:
    """Writes what a function of prompt and seed says, and counts what it was asked."""

    def __init__(self, write: Callable[[str, int], str], *, weights: str = "w"):
        self.write, self.weights = write, weights
        self.asked: list[tuple[str, tuple[int, ...]]] = []
        self.limits: set[tuple[int, float]] = set()
        self.decodings: set[Decoding] = set()
        self.num_opened = 0

    def opened(self) -> "Scripted":
        self.num_opened += 1
        return self

    def sample(self, prompts, *, seeds, max_new_tokens, decoding, stop_ids) -> list[list[Sample]]:
        self.limits.add((max_new_tokens, decoding.temperature))
        self.decodings.add(decoding)
        texts = [str(TOKENIZER.decode(prompt)) for prompt in prompts]
        self.asked += [(text, tuple(prompt_seeds)) for text, prompt_seeds in zip(texts, seeds, strict=True)]
        return [
            [Sample(_generation(self.write(text, seed), stop_ids[0]), self.weights) for seed in prompt_seeds]
            for text, prompt_seeds in zip(texts, seeds, strict=True)
        ]


def _generation(text: str, end_id: int) -> Generation:
    """`text` with its end; without it where the text has none to show, marked by a tilde."""
    ids = TOKENIZER.encode(text.removesuffix("~"))
    return Generation(ids, "length") if text.endswith("~") else Generation([*ids, end_id], "stop")


def subject(sampler: Scripted, **changes: Any) -> Subject:
    settings: dict[str, Any] = {
        "weights": "w", "chat": CHAT, "engine": {}, "batch_size": 2, "context": None,
    } | changes  # fmt: skip

    def writer() -> Writer:
        return Writer(sampler.opened(), CHAT, settings["weights"])

    return Subject(**settings, writer=functools.cache(writer))


def suite(*names: str, **changes: Any) -> Benchmarks:
    settings = {
        "suite": list(names), "files": {}, "num_items": None, "num_samples": None, "temperature": None,
        "max_new_tokens": None,
    }  # fmt: skip
    return Benchmarks(**{**settings, **changes})


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    """Ten questions as GSM8K writes them: what is i and 10?"""
    path = tmp_path / "sums.jsonl"
    rows = [
        {"question": f"What is {i} and 10?", "answer": f"Put together.\n#### {i + 10}"} for i in range(10)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def right(text: str, seed: int) -> str:
    del seed
    return f"So \\boxed{{{int(text.split()[2]) + 10}}}"


def measured(
    sampler: Scripted, sums: Path, into: str = "m", on_items=lambda *_: None, model: dict[str, Any] | None = None,
    **changes: Any,
) -> Measured:  # fmt: skip
    layout = Layout(sums.parent)
    chosen = suite("gsm8k", **{"files": {"gsm8k": str(sums)}, **changes})
    model_subject = subject(sampler, **(model or {}))
    suite_ = measurements(chosen, layout.root)
    [result] = measure_suite(model_subject, suite_, layout, into=layout.benchmarks(into), on_items=on_items)
    return result


def results(result: Measured) -> Sequence[ItemResult]:
    return read_records(result.results, ItemResult)


# --- figures


def test_every_item_is_asked_in_the_benchmarks_words_and_graded(sums: Path):
    sampler = Scripted(right)

    result = measured(sampler, sums)

    assert len(sampler.asked) == 10
    assert all("Please reason step by step" in text for text, _ in sampler.asked)
    assert result.record["mean"] == 1.0
    assert result.record["num_items"] == 10
    assert [(item.reference, item.is_right, item.reason) for item in results(result)] == [
        (str(i + 10), True, "") for i in range(10)
    ]
    assert read_json(sums.parent / "metrics" / "benchmarks" / "m" / "gsm8k.json") == result.record


def test_a_worked_example_that_is_an_item_is_remarked_on(sums: Path):
    questions = [json.loads(line)["question"] for line in sums.read_text().splitlines()]
    shots = [Example(prompt=prompt, response="It is 1.") for prompt in (questions[0], "What is 99 and 10?")]

    [note] = [
        note
        for note in measured(Scripted(right), sums, examples={"gsm8k": shots}).notes
        if "worked example" in note
    ]

    assert note.startswith("gsm8k: its item ")


def test_an_item_is_asked_behind_the_system_message_and_the_examples_in_the_benchmarks_words(sums: Path):
    sampler = Scripted(lambda text, seed: right(text[text.rindex("What") :], seed))
    shot = Example(prompt="What is 1 and 10?", response="So 11.")

    measured(sampler, sums, system="Be brief.", examples={"gsm8k": [shot]}, num_items=1)

    [(text, _)] = sampler.asked
    system, example, item = (
        text.split("\n\n", 2)[0],
        text[: text.index("So 11.")],
        text[text.index("So 11.") :],
    )
    assert system == "Be brief."
    assert "What is 1 and 10?" in example
    assert example.count("Please reason step by step") == item.count("Please reason step by step") == 1


def test_sampling_settings_reach_the_sampler_and_change_the_key(sums: Path):
    sampler, settings = (
        Scripted(right),
        {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0.1, "stop": ["Q:"]},
    )
    plain, truncated_ = measured(Scripted(right), sums), measured(sampler, sums, **settings)

    [decoding] = sampler.decodings
    assert decoding == Decoding(0.6, 0.95, 20, 0.1, ("Q:",))
    assert truncated_.record["key"] != plain.record["key"]
    assert truncated_.record["sampling"] | settings == truncated_.record["sampling"]


def test_wrong_answers_and_cut_responses_are_counted_with_the_reason(sums: Path):
    def write(text: str, seed: int) -> str:
        number = int(text.split()[2])
        return right(text, seed) if number < 5 else "\\boxed{99}" if number < 8 else right(text, seed) + "~"

    result = measured(Scripted(write), sums)

    assert result.record["mean"] == 0.5
    assert result.record["cut_share"] == pytest.approx(0.2)
    assert [item.reason for item in results(result)] == [
        *[""] * 5, *["another answer"] * 3, *["cut at the limit"] * 2
    ]  # fmt: skip
    low, high = result.record["interval"]
    assert 0.2 < low < 0.5 < high < 0.8


def test_samples_of_an_item_have_seeds_of_their_own_also_where_a_batch_holds_fewer(sums: Path):
    def sometimes(text: str, seed: int) -> str:
        return right(text, seed) if seed % 2 else "\\boxed{0}"

    sampler = Scripted(sometimes)
    result = measured(sampler, sums, num_samples=5, temperature=0.7)

    seeds = [seed for _, prompt_seeds in sampler.asked for seed in prompt_seeds]
    assert len(set(seeds)) == 50
    assert [(item.id, item.sample) for item in results(result)] == [
        (item.id, n) for item in results(result)[::5] for n in range(5)
    ]
    share = sum(item.is_right for item in results(result)) / 50
    assert result.record["mean"] == pytest.approx(share)
    assert result.record["num_samples"] == 5
    assert result.record["pass_at"]["1"] == pytest.approx(share)
    assert result.record["pass_at"]["1"] < result.record["pass_at"]["5"] <= 1


def test_a_program_is_run_with_its_tests(tmp_path: Path):
    path = tmp_path / "programs.jsonl"
    rows = [
        {
            "task_id": f"t{i}", "prompt": f"def add{i}(a):\n    '''a and {i}'''\n", "entry_point": f"add{i}",
            "test": f"def check(candidate):\n    assert candidate(1) == {i + 1}\n",
        }
        for i in range(3)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def write(text: str, seed: int) -> str:
        del seed
        i = int(text.split("def add")[1][0])
        return [f"```python\ndef add0(a):\n    return a + {i}\n```", "    return a + 1\n", "    return a\n"][
            i
        ]

    layout = Layout(tmp_path)
    chosen = suite("humaneval", files={"humaneval": str(path)})
    [result] = measure_suite(
        subject(Scripted(write)),
        measurements(chosen, tmp_path),
        layout,
        into=layout.benchmarks("m"),
        on_items=lambda *_: None,
    )

    assert [item.is_right for item in results(result)] == [True, True, False]
    assert result.record["mean"] == pytest.approx(2 / 3)


# --- what is kept


def test_what_was_measured_is_not_measured_again_and_the_model_is_not_even_loaded(sums: Path):
    first = measured(Scripted(right), sums, into="a")
    sampler = Scripted(right)
    second = measured(sampler, sums, into="b")

    assert sampler.num_opened == 0
    assert second.record == first.record
    assert second.results.read_bytes() == first.results.read_bytes()


def test_an_interrupted_measurement_resumes_after_its_complete_parts(
    sums: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(stage, "BATCHES_A_PART", 1)
    undisturbed = measured(Scripted(right, weights="v"), sums, into="a", model={"weights": "v"})

    def stopped(text: str, seed: int) -> str:
        if text.split()[2] == "5":
            raise KeyboardInterrupt
        return right(text, seed)

    with pytest.raises(KeyboardInterrupt):
        measured(Scripted(stopped), sums, into="b")
    sampler = Scripted(right)
    result = measured(sampler, sums, into="b")

    assert [text.split()[2] for text, _ in sampler.asked] == ["4", "5", "6", "7", "8", "9"]
    assert result.results.read_bytes() == undisturbed.results.read_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"weights": "other"}}, {"model": {"seed": 1}}, {"max_new_tokens": 7}, {"num_items": 9},
        {"temperature": 0.5}, {"model": {"engine": {"engine": "vllm"}}},
        {"model": {"chat": Chat(TOKENIZER, {"thinks": False})}}, {"model": {"chat": Chat(TOKENIZER, {}, [3])}},
    ],
    ids=lambda changes: str(list(changes.items()))[:40],
)  # fmt: skip
def test_other_weights_settings_or_items_are_measured_again(sums: Path, changes: dict[str, Any]):
    measured(Scripted(right), sums)
    weights = changes.get("model", {}).get("weights", "w")
    sampler = Scripted(right, weights=weights)

    measured(sampler, sums, **changes)

    assert sampler.num_opened == 1
    assert len(sampler.asked) == changes.get("num_items", 10)


def test_fewer_items_are_a_part_of_more(sums: Path):
    few = {item.id for item in results(measured(Scripted(right), sums, num_items=3))}
    more = {item.id for item in results(measured(Scripted(right), sums, num_items=6))}

    assert len(few) == 3
    assert few < more


def test_progress_is_reported_in_items(sums: Path):
    calls: list[tuple[str, int, int]] = []
    measured(Scripted(right), sums, on_items=lambda *progress: calls.append(progress))

    assert calls == [("gsm8k", 8, 10), ("gsm8k", 10, 10)]  # four batches of two


# --- notes and errors


def test_responses_are_no_longer_than_the_context_which_is_a_note(sums: Path):
    sampler = Scripted(right)
    result = measured(sampler, sums, model={"context": 200})

    [(limit, _)] = sampler.limits
    longest = max(len(TOKENIZER.encode(text)) for text, _ in sampler.asked)
    assert limit == result.record["sampling"]["max_new_tokens"] == 200 - longest
    assert any(f"gsm8k: {limit} new tokens instead of 2048" in note for note in result.notes)


def test_an_item_that_the_model_cannot_read_is_named(sums: Path):
    with pytest.raises(ConfigError, match=r"gsm8k: item .* has \d+ tokens, but the model reads only 50; "):
        measured(Scripted(right), sums, model={"context": 50})


def test_responses_of_other_weights_stop_the_measurement(sums: Path):
    with pytest.raises(
        RunError,
        match="gsm8k: the engine wrote a response to prompt .* with weights old, and they should be w",
    ):
        measured(Scripted(right, weights="old"), sums)


def test_items_that_are_not_the_benchmarks_are_a_note(sums: Path):
    result = measured(Scripted(right), sums)

    assert any("10 rows, but gsm8k has 1,319 items" in note for note in result.notes)


# --- a benchmark of one's own


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


# --- EvalPlus


def test_programs_of_humanevalplus_and_mbppplus_run_against_all_tests(tmp_path: Path):
    halves = "def halves(numbers):\n    '''Half of each.'''\n"
    of_humaneval = [humaneval_row(0, halves, "halves", [[[1, 2]], [[-3]]], [[0.5, 1.0], [-1.5]])]
    of_mbpp = [mbpp_row(2, "Write a function to double.", "double", [[1], [2], [3], [-4]], [2, 4, 6, -8])]
    files = {}
    for name, rows in (("humanevalplus", of_humaneval), ("mbppplus", of_mbpp)):
        files[name] = f"{name}.jsonl"
        (tmp_path / files[name]).write_text("".join(json.dumps(row) + "\n" for row in rows))

    def scores(halves: str, double: str) -> list[float]:
        def write(text: str, seed: int) -> str:
            del seed
            return f"```python\n{halves if 'halves' in text else double}\n```"

        layout = Layout(tmp_path)
        measured = measure_suite(
            subject(Scripted(write, weights=halves), weights=halves),
            measurements(suite("humanevalplus", "mbppplus", files=files), tmp_path),
            layout, into=layout.benchmarks("m"), on_items=lambda *_: None,
        )  # fmt: skip
        return [result.record["mean"] for result in measured]

    right = scores("def halves(x): return [y / 2 for y in x]", "def double(x): return 2 * x")
    wrong = scores("def halves(x): return [y // 2 for y in x]", "def double(x): return 2 * abs(x)")
    assert (right, wrong) == ([1.0, 1.0], [0.0, 0.0])


# --- a model of a directory


@pytest.fixture
def text_project(project: Project, sums: Path) -> Project:
    save_text_model(project.root / "tiny")
    return project.edit(
        benchmarks__suite=["gsm8k"], benchmarks__files={"gsm8k": str(sums)}, benchmarks__max_new_tokens=8,
        tracking__enabled=True,
    )  # fmt: skip


def _measure_model(
    project: Project, name: str = "tiny", *, uri: str = ""
) -> tuple[list[Measured], list[str]]:
    warnings: list[str] = []
    params, layout = load_params(project.params_file), Layout(project.root)
    params = params.model_copy(
        update={
            "tracking": params.tracking.model_copy(
                update={"uri": uri or f"sqlite:///{project.root}/mlflow.db"}
            )
        }
    )
    return measure_model(name, params, layout, on_items=lambda *_: None, warn=warnings.append), warnings


def test_a_model_is_measured_and_logged_to_mlflow_with_its_figures(text_project: Project):
    [result], warnings = _measure_model(text_project)

    assert warnings == []
    assert {item.num_tokens for item in results(result)} <= set(range(1, 9))
    client = MlflowClient(f"sqlite:///{text_project.root}/mlflow.db")
    experiment = client.get_experiment_by_name("omniopd")
    assert experiment is not None
    [model] = client.search_logged_models([experiment.experiment_id])
    assert (model.name, model.tags["omniopd.weights"]) == ("tiny", result.record["weights"])
    figures = {metric.key: metric.value for metric in model.metrics or []}
    assert figures["benchmark/gsm8k/pass_at_1"] == result.record["mean"]
    assert figures["benchmark/gsm8k/cut_share"] == result.record["cut_share"]
    [run] = client.search_runs([experiment.experiment_id])
    assert [file.path for file in client.list_artifacts(run.info.run_id, "benchmarks")] == [
        "benchmarks/gsm8k.parquet"
    ]


@pytest.mark.slow
def test_a_model_that_is_measured_again_is_in_mlflow_once_as_is_each_figure(text_project: Project):
    _measure_model(text_project)
    _measure_model(text_project)

    client = MlflowClient(f"sqlite:///{text_project.root}/mlflow.db")
    experiment = client.get_experiment_by_name("omniopd")
    assert experiment is not None
    assert len(client.search_logged_models([experiment.experiment_id])) == 1
    [run] = client.search_runs([experiment.experiment_id])
    assert len(client.get_metric_history(run.info.run_id, "benchmark/gsm8k/pass_at_1")) == 1


def test_mlflow_that_does_not_answer_is_a_warning_and_the_figures_are_written(text_project: Project):
    [result], warnings = _measure_model(text_project, uri="http://127.0.0.1:9")

    assert result.results.exists()
    assert len(warnings) == 1
    assert warnings[0].startswith("MLflow does not answer (")
    assert "the same command sends it" in warnings[0]


@pytest.mark.slow
def test_a_model_without_a_chat_template_is_measured_on_the_raw_prompts_with_a_warning(
    text_project: Project,
):
    save_text_model(text_project.root / "base", chat_template=None)

    [result], warnings = _measure_model(text_project, "base")

    assert len(warnings) == 1
    assert "has no chat template" in warnings[0]
    assert result.record["num_items"] == 10


def test_a_model_that_is_not_there_is_refused(text_project: Project):
    with pytest.raises(ModelError, match="no such model directory"):
        _measure_model(text_project, "./nowhere")


@pytest.mark.parametrize(
    ("name", "folder"),
    [("Qwen/Qwen3-1.7B", "Qwen--Qwen3-1.7B"), ("./tiny", "tiny"), ("/a/b/c", "a--b--c"), ("../x", "x")],
)
def test_results_are_stored_under_the_name_of_the_model(name: str, folder: str):
    assert folder_of(name) == folder
