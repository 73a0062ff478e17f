"""How a prefix is sent to an API, and how its answer is read."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omniopd.config import TeacherConfig
from omniopd.data.conversation import Message, conversation
from omniopd.errors import ConfigError
from omniopd.teachers.api import endpoint_of
from omniopd.teachers.ways import Payload, Prefill, _is_periodic, continuation, payload_of


def _payload(
    way, prompt="1+2=", prefix="1+2", *, prefill: Prefill = "turn", strips=False, marks_cache=False
) -> Payload:
    return payload_of(
        way, conversation(prompt), prefix, prefill=prefill, strips=strips, marks_cache=marks_cache
    )


def test_completion_is_one_text():
    payload = _payload("completion")
    assert (payload.text, payload.messages, payload.settings) == ("1+2=1+2", (), {})


def test_a_prefill_leaves_the_last_turn_open_as_the_vendor_has_it():
    question, turn = {"role": "user", "content": "1+2="}, {"role": "assistant", "content": "1+2"}
    assert _payload("prefill").messages == (question, turn)
    assert _payload("prefill", prefill="flag").messages == (question, {**turn, "prefix": True})
    served = _payload("prefill", prefill="setting")
    assert served.messages == (question, turn)
    assert served.settings == {"extra_body": {"continue_final_message": True, "add_generation_prompt": False}}


HISTORY = (Message("system", "Be brief."), Message("user", "2+2="), Message("assistant", "4"))


def test_the_messages_before_the_prompt_are_sent_as_they_are():
    before = tuple(message.as_row() for message in HISTORY)
    for way in ("instruct", "prefill"):
        *history, question = _payload(way, [*HISTORY, Message("user", "1+2=")], "").messages
        assert (tuple(history), question) == (before, {"role": "user", "content": "1+2="})
    *history, question, answer = _payload("prefill", [*HISTORY, Message("user", "1+2=")]).messages
    assert (tuple(history), question["content"], answer["content"]) == (before, "1+2=", "1+2")
    assert _payload("completion", [*HISTORY, Message("user", "1+2=")]).text == "Be brief.\n\n2+2=4\n\n1+2=1+2"


def test_a_cache_is_told_where_the_messages_that_prompts_share_end():
    mark = {"cache_control": {"type": "ephemeral"}}
    asked = [*HISTORY, Message("user", "1+2=")]
    for way in ("instruct", "prefill"):
        *_, last, question = _payload(way, asked, "", marks_cache=True).messages
        assert last == {"role": "assistant", "content": [{"type": "text", "text": "4", **mark}]}
        assert ("cache_control" in str(question)) == (way == "prefill")
    assert "cache_control" not in str(_payload("prefill", asked).messages)


def test_an_instruction_holds_the_prompt_and_the_prefix_in_one_turn_of_the_user():
    (turn,) = _payload("instruct").messages
    assert turn["role"] == "user"
    assert turn["content"].startswith("1+2=\n")
    assert "\n-----\n1+2\n-----\n" in turn["content"]


@pytest.mark.parametrize("way", ["prefill", "instruct"])
@pytest.mark.parametrize("prefill", ["turn", "flag", "setting"])
def test_with_an_empty_prefix_the_prompt_is_sent_alone(way, prefill):
    payload = _payload(way, prefix="", prefill=prefill)
    assert payload.messages == ({"role": "user", "content": "1+2="},)
    assert payload.settings == {}


def test_the_prompt_is_marked_where_the_vendor_caches_what_is_marked():
    question, _ = _payload("prefill", marks_cache=True).messages
    assert question["content"] == [{"type": "text", "text": "1+2=", "cache_control": {"type": "ephemeral"}}]


@pytest.mark.parametrize(
    ("prefix", "sent", "answer", "reply"),
    [
        ("so \n", "so", " \nit is", "it is"),  # written again as it was
        ("so \n", "so", "\nit is", "it is"),  # written again in another form
        ("so \n", "so", "it is", "it is"),  # not written again
        ("so \n", "so", " \n it is", " it is"),  # and white space of its own
        ("so", "so", " it is", " it is"),  # nothing was stripped
    ],
)
def test_stripped_white_space_belongs_to_the_prefix(prefix: str, sent: str, answer: str, reply: str):
    payload = _payload("prefill", prefix=prefix, strips=True)
    assert payload.messages[-1]["content"] == sent
    assert payload.extra_tokens == (1 if sent != prefix else 0)
    assert continuation("prefill", payload, prefix, answer) == reply


def test_a_prefix_of_white_space_alone_is_no_turn():
    payload = _payload("prefill", prefix="\n\n", strips=True)
    assert len(payload.messages) == 1
    assert continuation("prefill", payload, "\n\n", "\n\nThe") == "The"


LONG = "First, add 1 and 2"


@pytest.mark.parametrize(
    ("prefix", "rest"),
    [
        (LONG, ": 3"),
        (LONG + "\n", "The sum is 3"),
        ("0123456789abcdef", ""),
        ("a" * 40 + "b", "c"),  # its first half is periodic, and it is not
        ("1 + 1 = 2, 1 + 2 = 3", ", 1 + 3 = 4"),
    ],
)
def test_a_long_prefix_that_an_instructed_answer_repeats_is_stripped_once(prefix: str, rest: str):
    payload = _payload("instruct", prefix=prefix)
    assert continuation("instruct", payload, prefix, prefix + rest) == rest
    assert continuation("instruct", payload, prefix, rest) == rest
    assert continuation("instruct", payload, prefix, prefix[:-1]) == prefix[:-1], (
        "a part of a prefix is no repetition"
    )
    for way in ("prefill", "completion"):
        assert continuation(way, _payload(way, prefix=prefix), prefix, prefix + rest) == prefix + rest


SHORT = ["", "4", "10", "111", " 4 ", "The", "1+2", "(a+b)", "x = y\n", "0123456789abcde"]
PERIODIC = ["a" * 40, "ha " * 20, "(a+b)" * 5 + "(a", "1, 2, " * 4 + "1", "\n" * 30 + "so"]


@pytest.mark.parametrize("prefix", [*SHORT, *PERIODIC])
def test_short_and_periodic_text_may_come_twice(prefix: str):
    payload = _payload("instruct", prefix=prefix)
    assert continuation("instruct", payload, prefix, prefix + "2") == prefix + "2"


@given(st.text("ab", min_size=1, max_size=9), st.text("ab", max_size=9), st.integers(2, 5))
def test_a_text_is_periodic_where_a_period_fits_in_it_twice(unit: str, rest: str, times: int):
    text = unit * times + rest
    periods = range(1, len(text) // 2 + 1)
    assert _is_periodic(text) == any(text[shift:] == text[:-shift] for shift in periods)


@given(st.text(), st.text(), st.sampled_from(["prefill", "completion"]))
def test_prefix_and_reply_are_what_a_teacher_that_writes_on_exactly_has_written(prefix: str, rest: str, way):
    payload = _payload(way, prefix=prefix, strips=way == "prefill")
    sent = payload.text or (payload.messages[-1]["content"] if len(payload.messages) > 1 else "")
    written = payload.stripped + rest  # it goes on where what it was given stops
    assert continuation(way, payload, prefix, written) == rest
    assert way == "completion" or sent + payload.stripped == prefix


@given(st.text())
def test_no_way_makes_more_tokens_than_bytes_are_counted(prefix: str):
    for way in ("completion", "prefill", "instruct"):
        assert _payload(way, prefix=prefix).num_bytes >= len(prefix.rstrip().encode())


def test_settings_of_a_chat_template_are_sent_to_a_server_of_ones_own_alone(tmp_path: Path):
    config = TeacherConfig(
        kind="api", model="hosted_vllm/demo", base_url="http://127.0.0.1:1/v1", request={"extra_body": {"top_k": 20}},
        chat_template_kwargs={"enable_thinking": False},
    )  # fmt: skip

    sent = endpoint_of(config, root=tmp_path).request

    assert sent == {"extra_body": {"top_k": 20, "chat_template_kwargs": {"enable_thinking": False}}}
    with pytest.raises(ConfigError, match="teacher.chat_template_kwargs: .*base_url.*teacher.request"):
        endpoint_of(config.model_copy(update={"base_url": None}), root=tmp_path)
