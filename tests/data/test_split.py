"""The splits of a stream: what is kept, what is left out and listed, and how much memory that takes."""

import json
import random
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from projects import REPOSITORY

from omniopd.data.columns import PLAIN, Columns
from omniopd.data.decontaminate import EvaluationItems
from omniopd.data.sources import Source, source_of
from omniopd.data.split import MAX_LISTED, Findings, Rules, Splits, draw, read_rows
from omniopd.errors import DataError

RULES = Rules(PLAIN, num_train=20, num_validation=4, num_heldout=6)
ROWS = [{"id": f"q{i:02d}", "prompt": f"{i}+1=", "answer": str(i + 1)} for i in range(40)]
GSM8K = Columns(prompt="question", answer="answer", id=None, tests=None)
MIB = 2**20


def lines(path: Path, rows: Iterable[Any]) -> Source:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return source_of(path.name, path.parent, subset=None, split="train")


def table(path: Path, rows: list[dict[str, Any]]) -> Source:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return source_of(path.name, path.parent, subset=None, split="train")


def texts(splits: Splits) -> dict[str, list[str]]:
    return {name: [prompt.prompt for prompt in prompts] for name, prompts in splits.items()}


def test_neither_the_order_of_rows_nor_repeats_change_a_split_or_its_report(tmp_path: Path):
    in_order = lines(tmp_path / "a.jsonl", ROWS)
    shuffled = random.Random(0).sample(ROWS * 3, 120)
    first, findings = draw(in_order, RULES, [0])
    second, found_again = draw(lines(tmp_path / "b.jsonl", shuffled), RULES, [0])

    assert first == second
    assert (findings.num_repeated, found_again.num_repeated) == (0, 80)
    assert len({text for split in texts(first[0]).values() for text in split}) == 30


def test_a_system_message_that_rows_share_is_no_overlap_and_a_history_hides_none(tmp_path: Path):
    system = {
        "role": "system",
        "content": "one two three four five six seven eight nine ten eleven twelve thirteen",
    }
    turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
    numbered = [[system, {"role": "user", "content": f"{i}+1="}] for i in range(40)]
    in_turns = [[system, *turns, {"role": "user", "content": f"{i}+1="}] for i in range(3)]
    rows = [{"prompt": messages, "answer": "1"} for messages in [*numbered, *in_turns]]
    evaluation = EvaluationItems(13)
    for i in range(3):
        evaluation.add(f"item {i}", f"{i}+1=")
    rules = Rules(PLAIN, num_train=20, num_validation=4, num_heldout=3)
    drawn, findings = draw(lines(tmp_path / "a.jsonl", rows), rules, [0], evaluation=evaluation)

    asked = {prompt.prompt for prompt in drawn[0]["train"]}
    assert len(asked) == 20
    assert not asked & {f"{i}+1=" for i in range(3)}
    assert {entry["with"] for entry in findings.contaminated[0].as_record()["listed"]} >= {
        f"item {i}" for i in range(3)
    }


def test_seeds_drawn_together_are_those_drawn_alone(tmp_path: Path):
    source = lines(tmp_path / "a.jsonl", ROWS)
    together, _ = draw(source, RULES, [0, 1])

    assert together == {seed: draw(source, RULES, [seed])[0][seed] for seed in (0, 1)}
    assert texts(together[0]) != texts(together[1])


def test_a_seed_splits_a_thousand_prompts_evenly(tmp_path: Path):
    """Of 1,000 prompts 100 are measured on, of each tenth of the file 10 or so."""
    rows = [{"id": f"q{i}", "prompt": f"{i}+1=", "answer": "1"} for i in range(1000)]
    rules = Rules(PLAIN, num_train=900, num_validation=40, num_heldout=60)
    splits = draw(lines(tmp_path / "a.jsonl", rows), rules, [0])[0][0]
    tenths = [int(prompt.id[1:]) // 100 for prompt in splits["heldout"] + splits["validation"]]

    assert all(2 <= tenths.count(tenth) <= 20 for tenth in range(10))


def test_a_set_that_repeats_each_prompt_a_hundred_times_gives_each_once(tmp_path: Path):
    rows = [
        {"prompt": [{"role": "user", "content": f"Problem {i}."}], "reward_model": {"ground_truth": str(i)}}
        for i in range(30)
    ] * 100
    columns = Columns(prompt="prompt", answer="reward_model.ground_truth", id=None, tests=None)
    rules = Rules(columns, num_train=20, num_validation=4, num_heldout=6)
    drawn, findings = draw(table(tmp_path / "dapo.parquet", rows), rules, [0])

    assert (findings.num_rows, findings.num_repeated) == (3000, 2970)
    kept = [text for split in texts(drawn[0]).values() for text in split]
    assert sorted(kept) == sorted(f"Problem {i}." for i in range(30))


def test_of_a_repeated_text_the_row_with_an_answer_is_kept_however_late(tmp_path: Path):
    mute = [{"id": f"a{i}", "prompt": row["prompt"]} for i, row in enumerate(ROWS)]
    drawn, findings = draw(lines(tmp_path / "a.jsonl", mute + ROWS), RULES, [0])

    assert all(prompt.answer for split in drawn[0].values() for prompt in split)
    assert findings.without_answer.count == 40


def test_an_answer_that_cannot_be_read_is_listed_and_its_prompt_trained_on(tmp_path: Path):
    answers = {3: "I do not know", 5: "#### ", 7: None, 9: 2.5}
    rows = [{**row, "answer": answers.get(i, f"so #### 1 or\n#### {i} ")} for i, row in enumerate(ROWS)]
    rules = Rules(
        PLAIN, num_train=30, num_validation=4, num_heldout=6, answer_pattern=re.compile(r"####(.*)$", re.M)
    )
    drawn, findings = draw(lines(tmp_path / "a.jsonl", rows), rules, [0])
    record = findings.report(0, drawn[0])["without_answer"]

    assert record["count"] == 4
    reasons = {entry["id"]: entry["reason"] for entry in record["listed"]}
    assert set(reasons) == {"q03", "q05", "q07", "q09"}
    assert "I do not know" in reasons["q03"]
    assert "2.5" in reasons["q09"]
    trained = {prompt.id: prompt.answer for prompt in drawn[0]["train"]}
    assert {id_ for id_, answer in trained.items() if answer is None} == set(reasons)
    assert all(answer in (None, str(int(id_[1:]))) for id_, answer in trained.items())


def test_rows_of_a_table_that_cannot_be_asked_are_listed_and_left_out(tmp_path: Path):
    rows = [{**row, "prompt": {2: None, 4: " "}.get(i, row["prompt"])} for i, row in enumerate(ROWS)]
    drawn, findings = draw(table(tmp_path / "a.parquet", rows), RULES, [0])
    record = findings.report(0, drawn[0])["unusable"]

    assert [entry["row"] for entry in record["listed"]] == [3, 5]
    with pytest.raises(
        DataError, match="a.jsonl:3: has no field 'prompt'.*\n.*a.jsonl:5: field 'prompt' is empty"
    ):
        draw(lines(tmp_path / "a.jsonl", rows), RULES, [0])


def test_a_table_without_one_row_that_can_be_asked_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="row 1: field 'prompt' is empty"):
        draw(table(tmp_path / "a.parquet", [{"prompt": "", "answer": "1"}] * 9), RULES, [0])


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_mapped_column_that_no_line_has_is_refused_with_those_that_there_are(tmp_path: Path, name: str):
    source = lines(tmp_path / name, [{"question": row["prompt"], "label": "x"} for row in ROWS])
    columns = Columns(prompt="question", answer="solution", id="id", tests="tests")

    with pytest.raises(DataError) as caught:
        draw(source, Rules(columns, 20, 4, 6), [0])

    assert str(caught.value) == (
        f"{tmp_path}/{name}: has no column 'solution'; it has 'question', 'label'; name one of them in "
        "prompts.columns.answer, or null where there is none"
    )


def test_prompts_that_are_too_long_are_in_no_split_and_are_listed(tmp_path: Path):
    rows = ROWS + [{"id": f"long{i}", "prompt": "1+" * 50 + f"{i}=", "answer": "1"} for i in range(7)] * 2
    rules = Rules(
        PLAIN, 30, 4, 6, max_tokens=8, count_tokens=lambda prompts: [len(prompt.text) for prompt in prompts]
    )
    drawn, findings = draw(lines(tmp_path / "a.jsonl", rows), rules, [0, 1])

    assert (
        max(len(text) for splits in drawn.values() for split in texts(splits).values() for text in split) <= 8
    )
    listed = findings.report(0, drawn[0])["too_long"]
    assert listed["count"] == 7
    assert {entry["id"]: entry["tokens"] for entry in listed["listed"]}["long3"] == 102


def test_training_prompts_that_overlap_are_left_out_and_listed_with_what_they_overlap(tmp_path: Path):
    rng = random.Random(0)
    words = [f"w{i}" for i in range(500)]
    questions = [" ".join(rng.choices(words, k=20)) for _ in range(60)]
    evaluation = EvaluationItems(6)
    evaluation.add("test.jsonl, row 1", " ".join(["who", *questions[0].split()[3:9], "when"]))
    evaluation.add("test.jsonl, row 2", questions[1].upper())
    rows = [{"id": f"q{i:02d}", "prompt": text, "answer": str(i)} for i, text in enumerate(questions)]
    # And each of these says what another does, which may be measured on.
    rows += [
        {"id": f"copy{i:02d}", "prompt": f"Tell me: {text}", "answer": "1"}
        for i, text in enumerate(questions)
    ]
    source = lines(tmp_path / "a.jsonl", rows)
    rules = Rules(PLAIN, num_train=90, num_validation=5, num_heldout=5)

    drawn, findings = draw(source, rules, [0, 1], evaluation=evaluation)

    for seed, splits in drawn.items():
        measured = {prompt.id: prompt.prompt for prompt in splits["heldout"] + splits["validation"]}
        trained = {prompt.id for prompt in splits["train"]}
        listed = {entry["id"]: entry for entry in findings.report(seed, splits)["contaminated"]["listed"]}
        partners = {id_[-2:] for id_ in measured}
        expected = {f"{kind}{n}" for kind in ("q", "copy") for n in partners | {"00", "01"}} - measured.keys()
        assert listed.keys() == expected
        assert not trained & expected
        assert listed.get("q00", listed.get("copy00"))["with"] == "test.jsonl, row 1"
        assert listed.get("q00", listed.get("copy00"))["words"] == " ".join(questions[0].split()[3:9])
    assert draw(lines(tmp_path / "b.jsonl", rows[::-1]), rules, [0, 1], evaluation=evaluation)[0] == drawn


def test_a_list_in_a_report_has_an_end_and_the_count_has_none(tmp_path: Path):
    rows = [{"prompt": f"{i}?"} for i in range(MAX_LISTED + 50)]
    source = lines(tmp_path / "a.jsonl", rows + ROWS)
    drawn, findings = draw(source, RULES, [0])
    record = findings.report(0, drawn[0])["without_answer"]

    assert (record["count"], len(record["listed"])) == (MAX_LISTED + 50, MAX_LISTED)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_memory_grows_with_the_rows_by_a_digest_each(tmp_path: Path, suffix: str):
    def peak(num_rows: int) -> float:
        rng, path = random.Random(0), tmp_path / f"{num_rows}{suffix}"
        rows = [{"id": f"q{i}", "prompt": f"{rng.random()} " * 15, "answer": "1"} for i in range(num_rows)]
        if suffix == ".jsonl":
            lines(path, rows)
        else:
            pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=10_000)
        done = subprocess.run(
            [sys.executable, Path(__file__).with_name("streamed.py"), path, "1500"],
            env={"PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return float(done.stdout) / MIB

    few, many = peak(2_000), peak(200_000)

    assert few > 1
    assert many - few < 32  # MiB: the prompts are 55 as text; the set of digests takes about 20


def test_gsm8k_is_read_whole(shared_data: Path):
    source = source_of("gsm8k/train.jsonl", shared_data, subset=None, split="train")
    rules = Rules(
        GSM8K, num_train=6400, num_validation=200, num_heldout=500, answer_pattern=re.compile(r"####\s*(.*)$")
    )
    evaluation = EvaluationItems(13)
    test = source_of("gsm8k/test.jsonl", shared_data, subset=None, split="train")
    for row, prompt, _ in read_rows(test, GSM8K, Findings(test)):
        evaluation.add(f"test.jsonl, row {row.number}", prompt.prompt)

    drawn, findings = draw(source, rules, [0], evaluation=evaluation)
    report = findings.report(0, drawn[0])

    assert (report["rows"], report["repeated"], report["without_answer"]["count"]) == (7473, 0, 0)
    assert report["evaluation_items"] == 1319
    assert {entry["with"] for entry in report["contaminated"]["listed"]} >= {
        "test.jsonl, row 633"
    }  # stamps, a snowflake
    answers = {prompt.prompt[:14]: prompt.answer for split in drawn[0].values() for prompt in split}
    assert answers.get("Natalia sold c", "72") == "72"
    assert all(re.fullmatch(r"-?[\d,.]+", answer) for answer in answers.values() if answer)
