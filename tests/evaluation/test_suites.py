"""A model on benchmarks: prompts, grades, resuming an interrupted measurement, notes and errors."""

import json
from pathlib import Path
from typing import Any

import pytest
from evalplus_rows import humaneval_row, mbpp_row
from scripted_models import TOKENIZER, Scripted, measured, results, right, subject, suite

from omniopd.config.benchmarks import measurements
from omniopd.config.schema.evaluation import Example
from omniopd.data.decoding import Decoding
from omniopd.data.layout import Layout
from omniopd.data.store import read_json
from omniopd.errors import ConfigError, RunError
from omniopd.evaluation import suites as stage
from omniopd.evaluation.suites import measure_suite
from omniopd.models.chat import Chat

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
