"""Prompts of several messages: how they are read, written, identified, and put after others."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omniopd.data.conversation import Message, parsed, plain_text, transcript
from omniopd.data.prompts import Prompt, read_prompts
from omniopd.data.records import Trajectory, history_of, history_text
from omniopd.data.store import read_records, write_jsonl, write_records
from omniopd.errors import DataError

SYSTEM, ASK, REPLY = Message("system", "Be brief."), Message("user", "2+2="), Message("assistant", "4")
LAST = Message("user", "3+5=")


def row(*messages: Message) -> list[dict[str, str]]:
    return [message.as_row() for message in messages]


def test_a_list_is_read_up_to_the_last_message_of_the_user():
    assert parsed(row(SYSTEM, ASK, REPLY, LAST)) == (SYSTEM, ASK, REPLY, LAST)
    assert parsed(row(ASK, REPLY)) == (ASK,)


def test_fields_that_are_empty_or_no_text_of_the_message_are_ignored():
    assert parsed([{**ASK.as_row(), "name": "Ann", "tool_calls": None, "weight": 1}]) == (ASK,)


def test_a_developer_is_a_system_and_parts_of_text_are_one_text():
    parts = [{"type": "text", "text": "2+"}, {"type": "text", "text": "2="}]
    given_ = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": parts}]
    assert parsed(given_) == (SYSTEM, ASK)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "no message of a user"),
        (row(SYSTEM, REPLY), "no message of a user"),
        (row(ASK, SYSTEM, LAST), "system message in place 2"),
        (["2+2="], "'2+2=' as message 1"),
        ([{"role": "tool", "content": "4"}, LAST.as_row()], "role 'tool' in message 1"),
        ([{"from": "human", "value": "2+2="}], "as message 1"),
        ([{"role": "user", "content": None}], "None as the content of message 1"),
        ([{"role": "user", "content": " "}], "no content in message 1"),
        (
            [ASK.as_row(), {**REPLY.as_row(), "tool_calls": [{"id": "a"}]}, LAST.as_row()],
            "calls a tool in message 2",
        ),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": "x.png"}]}],
            "only parts of type text",
        ),
    ],
)
def test_what_is_no_conversation_is_refused_naming_the_message(messages: list, message: str):
    with pytest.raises(ValueError, match=re.escape(message)):
        parsed(messages)


def test_a_line_with_a_broken_message_is_named(tmp_path: Path):
    write_jsonl(tmp_path / "a.jsonl", [{"id": "p", "prompt": [{"role": "robot", "content": "Hi"}]}])
    with pytest.raises(DataError, match=r"a\.jsonl:1: field 'prompt' has the role 'robot' in message 1"):
        read_prompts(tmp_path / "a.jsonl")


def test_prompts_of_both_kinds_are_written_and_read_back(tmp_path: Path):
    prompts = [Prompt("a", "1+1=", "2"), Prompt("b", "3+5=", "8", history=(SYSTEM, ASK, REPLY))]
    write_jsonl(tmp_path / "prompts.jsonl", [prompt.as_row() for prompt in prompts])

    assert prompts[0].as_row() == {
        "id": "a",
        "prompt": "1+1=",
        "answer": "2",
    }  # as before there were messages
    assert read_prompts(tmp_path / "prompts.jsonl") == prompts
    assert prompts[1].messages == (SYSTEM, ASK, REPLY, LAST)


def test_prompts_that_differ_in_a_message_alone_have_different_ids(tmp_path: Path):
    rows = [row(ASK, REPLY, LAST), row(Message("user", "2+3="), REPLY, LAST), row(LAST)]
    write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": messages} for messages in rows])
    assert len({prompt.id for prompt in read_prompts(tmp_path / "prompts.jsonl")}) == 3


def test_examples_stand_between_the_system_message_and_the_turns_of_the_row():
    shot = [("1+1=", "2")]
    shown = (Message("user", "1+1="), Message("assistant", "2"))

    assert Prompt("p", "3+5=").after("Be brief.", shot).messages == (SYSTEM, *shown, LAST)
    of_row = Prompt("p", "3+5=", history=(Message("system", "Own."), ASK, REPLY))
    assert of_row.after("Be brief.", shot).messages == (Message("system", "Own."), *shown, ASK, REPLY, LAST)
    assert Prompt("p", "3+5=").after(None) == Prompt("p", "3+5=")


texts = st.text(st.characters(codec="utf-8"), min_size=1)
messages = st.builds(Message, st.sampled_from(["system", "user", "assistant"]), texts)


@given(st.lists(messages))
def test_the_history_of_a_record_is_read_back(history: list[Message]):
    assert history_of(history_text(history)) == tuple(history)


def test_a_trajectory_keeps_the_messages_before_its_prompt(tmp_path: Path):
    trajectory = Trajectory(
        id="t", round=0, prompt_id="p", prompt="3+5=", prompt_ids=[1], response="8", response_ids=[2],
        finish_reason="stop", temperature=1.0, seed=1, student="w", entropies=[0.1], logps=[-0.1],
        history=history_text((SYSTEM, ASK, REPLY)),
    )  # fmt: skip
    write_records(tmp_path / "t.parquet", [trajectory], Trajectory)
    [read] = read_records(tmp_path / "t.parquet", Trajectory)
    assert read.messages == (SYSTEM, ASK, REPLY, LAST)


def test_a_reader_sees_roles_where_there_is_more_than_a_question():
    assert transcript((LAST,)) == plain_text((LAST,)) == "3+5="
    assert transcript((SYSTEM, LAST)) == "system: Be brief.\n\nuser: 3+5="


@pytest.mark.parametrize("columns", [["solution"], {"solution": 4}, "4"])
def test_damaged_columns_of_a_prompt_are_named_with_the_line(tmp_path: Path, columns: object):
    write_jsonl(tmp_path / "a.jsonl", [{"id": "p", "prompt": "2+2=", "columns": columns}])
    with pytest.raises(DataError, match=r"a\.jsonl:1: field 'columns' is .*, not texts by name"):
        read_prompts(tmp_path / "a.jsonl")
