"""Rows of every kind of source, and the message for one that cannot be read."""

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets.exceptions import DatasetNotFoundError

from omniopd.data.columns import PLAIN, Columns
from omniopd.data.conversation import Message
from omniopd.data.prompts import Prompt, prompt_of
from omniopd.data.sources import Source, source_of, stream
from omniopd.errors import DataError

ROWS = [{"id": f"q{i}", "prompt": f"{i}+1=", "answer": str(i + 1)} for i in range(2500)]
NESTED = Columns(prompt="prompt", answer="reward_model.ground_truth", id="extra.index", tests=None)
HISTORY = (Message("system", "Be short."), Message("user", "First?"), Message("assistant", "No."))
MESSAGES = [
    {
        "prompt": [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "First?"},
            {"role": "assistant", "content": "No."},
            {"role": "user", "content": f"What is {i}?"},
        ],
        "reward_model": {"ground_truth": i, "style": "rule"},
        "extra": {"index": f"m{i}"},
        "solution": "long " * 50,
    }
    for i in range(3)
]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_zipped(path: Path, rows: list[dict[str, Any]]) -> None:
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


WRITERS: dict[str, Callable[[Path, list[dict[str, Any]]], object]] = {
    "a.jsonl": write_lines,
    "a.jsonl.gz": write_zipped,
    "lines": write_lines,  # no suffix at all
    "a.json": lambda path, rows: path.write_text(json.dumps(rows)),
    "a.csv": write_csv,
    "a.parquet": lambda path, rows: pq.write_table(pa.Table.from_pylist(rows), path),
}


def named(name: str, root: Path) -> Source:
    return source_of(name, root, subset=None, split="train")


def prompts_in(source: Source, columns: Columns = PLAIN) -> list[Prompt]:
    return [prompt_of(row, columns)[0] for row in stream(source, columns)]


def refusal(source: Source, columns: Columns = PLAIN) -> str:
    with pytest.raises(DataError) as caught:
        prompts_in(source, columns)
    return str(caught.value)


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_file_gives_its_rows_in_order(tmp_path: Path, name: str):
    WRITERS[name](tmp_path / name, ROWS)

    assert prompts_in(named(name, tmp_path)) == [Prompt(**row) for row in ROWS]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.parquet"])
def test_paths_lead_into_structures_and_every_message_of_a_conversation_is_kept(tmp_path: Path, name: str):
    WRITERS[name](tmp_path / name, MESSAGES)

    assert prompts_in(named(name, tmp_path), NESTED) == [
        Prompt(f"m{i}", f"What is {i}?", str(i), history=HISTORY) for i in range(3)
    ]


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_a_column_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path, name: str):
    WRITERS[name](tmp_path / name, [{"question": "1+1=", "answer": "2"}])
    source = named(name, tmp_path)

    assert refusal(source) == (
        f"{tmp_path}/{name}: has no column 'prompt'; it has 'question', 'answer'; name one of them in "
        "prompts.columns.prompt"
    )
    mapped = Columns(prompt="question", answer="solution", id="id", tests="tests")
    assert (
        "no column 'solution'; it has 'question', 'answer'; name one of them in prompts.columns.answer"
        in refusal(source, mapped)
    )


def test_a_path_that_leads_nowhere_is_refused_with_those_that_lead_somewhere(tmp_path: Path):
    WRITERS["a.parquet"](tmp_path / "a.parquet", MESSAGES)
    wrong = Columns(prompt="prompt", answer="reward_model.truth", id=None, tests=None)

    assert "'reward_model.ground_truth', 'reward_model.style'" in refusal(named("a.parquet", tmp_path), wrong)


def test_answers_of_a_csv_are_text_as_written(tmp_path: Path):
    (tmp_path / "a.csv").write_text('id,prompt,answer\n007,"one, or\ntwo",18.0\n8,x,\n')

    assert prompts_in(named("a.csv", tmp_path)) == [Prompt("007", "one, or\ntwo", "18.0"), Prompt("8", "x")]


@pytest.mark.parametrize("name", ["a.parquet", "a.json", "a.csv", "a.jsonl.gz"])
def test_a_damaged_file_is_refused_by_its_name(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(b"\x1f\x8b\x00PAR1 \xff\xfe nothing of the kind")

    assert refusal(named(name, tmp_path)).startswith(f"{tmp_path}/{name}: ")


def test_a_file_that_was_cut_off_is_refused(tmp_path: Path):
    write_zipped(tmp_path / "a.jsonl.gz", ROWS)
    whole = (tmp_path / "a.jsonl.gz").read_bytes()
    (tmp_path / "a.jsonl.gz").write_bytes(whole[: len(whole) // 2])

    assert "a.jsonl.gz: cannot be read (" in refusal(named("a.jsonl.gz", tmp_path))


@pytest.mark.parametrize("name", ["gone.jsonl", "gone.parquet", "owner/gone.csv", "gone"])
def test_what_is_called_like_a_file_is_one(tmp_path: Path, name: str):
    assert refusal(named(name, tmp_path)) == (
        f"{tmp_path}/{name}: no such file of prompts; fix prompts.source in params.yaml"
    )


def test_a_file_goes_before_a_hub_dataset_of_the_same_name(tmp_path: Path):
    assert named("owner/name", tmp_path).kind == "hub"
    (tmp_path / "owner").mkdir()
    write_lines(tmp_path / "owner" / "name", ROWS[:2])

    assert len(prompts_in(named("owner/name", tmp_path))) == 2


# --- the hub


def test_an_unreachable_hub_is_refused_with_the_remedy_of_a_local_file(tmp_path: Path):
    source = source_of("openai/gsm8k", tmp_path, subset="main", split="train")

    message = refusal(source)  # the suite is offline

    assert message.startswith("openai/gsm8k (main, train): the hub cannot be reached (")
    assert "to_parquet" in message
    assert "prompts.source" in message


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the hub answers, in place of a network: a dataset or an error; and what it was asked."""
    answers: dict[str, Any] = {}

    def load_dataset(name: str, subset: str | None = None, *, split: str) -> datasets.Dataset:
        answers["asked"] = (name, subset, split)
        if isinstance(answers["gives"], Exception):
            raise answers["gives"]
        return answers["gives"]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return answers


def test_a_hub_dataset_is_asked_for_by_name_subset_and_split(tmp_path: Path, hub: dict[str, Any]):
    hub["gives"] = datasets.Dataset.from_list(MESSAGES)
    source = source_of("owner/name", tmp_path, subset="main", split="test")

    assert [prompt.id for prompt in prompts_in(source, NESTED)] == ["m0", "m1", "m2"]
    assert hub["asked"] == ("owner/name", "main", "test")
    assert "'prompt', 'reward_model.ground_truth'" in refusal(source, Columns("question", None, None, None))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (DatasetNotFoundError("Dataset 'o/n' doesn't exist on the Hub."), ["prompts.source", "hf auth login"]),
        (ValueError("Config name is missing.\nPlease pick one: ['main', 'socratic']"), ["prompts.subset", "socratic"]),
        (ValueError('Unknown split "trian". Should be one of [\'train\'].'), ["prompts.split", "trian"]),
        (RuntimeError("Dataset scripts are no longer supported, but found n.py"), ["scripts", "Parquet"]),
    ],
)  # fmt: skip
def test_an_error_of_the_hub_is_one_line(
    tmp_path: Path, hub: dict[str, Any], error: Exception, words: list[str]
):
    hub["gives"] = error

    message = refusal(named("owner/name", tmp_path))

    assert "\n" not in message
    assert message.startswith("owner/name (train): ")
    assert all(word in message for word in words)


# --- JSON, and repeated keys

TWICE = '{"id": "b", "prompt": "1", "prompt": "2", "answer": "3"}'
TWICE_INSIDE = '{"id": "b", "prompt": "1", "meta": [{"a": 1, "a": 1}]}'
FINE = '{"id": "a", "prompt": "0"}'


@pytest.mark.parametrize(("row", "key"), [(TWICE, "prompt"), (TWICE_INSIDE, "a")])
def test_a_repeated_key_is_named_with_file_and_row(tmp_path, row: str, key: str):
    (tmp_path / "a.jsonl").write_text(f"{FINE}\n{row}\n")
    (tmp_path / "a.json").write_text(f"[{FINE},\n {row}]")
    assert f"a.jsonl:2: the key '{key}' occurs twice" in refusal(named("a.jsonl", tmp_path))
    assert f"a.json, row 2: the key '{key}' occurs twice" in refusal(named("a.json", tmp_path))


@pytest.mark.parametrize(
    "text", ["[{0}, {1}]", "{0}\n{1}", " [ {0}\n,\n{1} ] \n", "{0} {1}", "\ufeff[{0},{1}]"], ids=range(5)
)
def test_a_json_file_is_a_list_of_rows_or_rows_one_after_the_other(tmp_path, text: str):
    other = '{"id": 7, "prompt": "1", "answer": 4.0}'
    (tmp_path / "a.json").write_text(text.replace("{0}", FINE).replace("{1}", other))
    rows = list(stream(named("a.json", tmp_path), PLAIN))
    assert [row.values() for row in rows] == [json.loads(FINE), json.loads(other)]
    assert [row.number for row in rows] == [1, 2]


@pytest.mark.parametrize(
    "text", ["[{0}", "[{0},", "[{0},]", "[{0} {0}]", "[{0}] {0}", "[{0}, 7]", "nope", "[{0}, nan"]
)
def test_a_broken_json_file_is_refused_in_one_line(tmp_path, text: str):
    (tmp_path / "a.json").write_text(text.replace("{0}", FINE))
    [line] = refusal(named("a.json", tmp_path)).splitlines()
    assert "a.json" in line


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_mapped_column_may_be_empty_in_many_rows(tmp_path: Path, name: str):
    rows = [{"question": f"{i}+1=", "solution": None if i < 150 else str(i + 1)} for i in range(160)]
    WRITERS[name](tmp_path / name, rows)
    mapped = Columns(prompt="question", answer="solution", id=None, tests=None)

    answers = [prompt.answer for prompt in prompts_in(named(name, tmp_path), mapped)]

    assert answers == [None] * 150 + [str(i + 1) for i in range(150, 160)]
