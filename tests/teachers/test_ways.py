"""How a prefix is put to an API, and what is made of its answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omniopd.teachers.ways import Prefill, Put, put, read


def _put(
    way, prompt="1+2=", prefix="1+2", *, prefill: Prefill = "turn", strips=False, marks_cache=False
) -> Put:
    return put(way, prompt, prefix, prefill=prefill, strips=strips, marks_cache=marks_cache)


def test_completion_is_one_text():
    asked = _put("completion")
    assert (asked.text, asked.messages, asked.settings) == ("1+2=1+2", (), {})


def test_a_prefill_leaves_the_last_turn_open_as_the_vendor_has_it():
    question, turn = {"role": "user", "content": "1+2="}, {"role": "assistant", "content": "1+2"}
    assert _put("prefill").messages == (question, turn)
    assert _put("prefill", prefill="flag").messages == (question, {**turn, "prefix": True})
    served = _put("prefill", prefill="setting")
    assert served.messages == (question, turn)
    assert served.settings == {"extra_body": {"continue_final_message": True, "add_generation_prompt": False}}


def test_an_instruction_holds_the_prompt_and_the_prefix_in_one_turn_of_the_user():
    (turn,) = _put("instruct").messages
    assert turn["role"] == "user"
    assert turn["content"].startswith("1+2=\n")
    assert "\n-----\n1+2\n-----\n" in turn["content"]


@pytest.mark.parametrize("way", ["prefill", "instruct"])
@pytest.mark.parametrize("prefill", ["turn", "flag", "setting"])
def test_where_nothing_was_written_yet_the_question_stands_alone(way, prefill):
    asked = _put(way, prefix="", prefill=prefill)
    assert asked.messages == ({"role": "user", "content": "1+2="},)
    assert asked.settings == {}


def test_the_prompt_is_marked_where_the_vendor_caches_what_is_marked():
    question, _ = _put("prefill", marks_cache=True).messages
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
    asked = _put("prefill", prefix=prefix, strips=True)
    assert asked.messages[-1]["content"] == sent
    assert asked.extra_tokens == (1 if sent != prefix else 0)
    assert read("prefill", asked, prefix, answer) == reply


def test_a_prefix_of_white_space_alone_is_no_turn():
    asked = _put("prefill", prefix="\n\n", strips=True)
    assert len(asked.messages) == 1
    assert read("prefill", asked, "\n\n", "\n\nThe") == "The"


@pytest.mark.parametrize(("answer", "reply"), [("1+2=3", "=3"), ("=3", "=3"), ("1+", "1+")])
def test_an_echo_of_the_whole_prefix_is_taken_off_an_instructed_answer(answer: str, reply: str):
    assert read("instruct", _put("instruct"), "1+2", answer) == reply


@pytest.mark.parametrize(
    ("prefix", "answer"),
    [("4", "42"), ("10", "100"), ("111", "1112"), (" 4 ", " 4 2"), ("", "42"), ("1+2", "1+")],
)
def test_a_reply_that_begins_like_a_short_prefix_is_kept_whole(prefix: str, answer: str):
    assert read("instruct", _put("instruct", prefix=prefix), prefix, answer) == answer


@given(st.text(), st.text(), st.sampled_from(["prefill", "completion"]))
def test_prefix_and_reply_are_what_a_teacher_that_writes_on_exactly_has_written(prefix: str, rest: str, way):
    asked = _put(way, prefix=prefix, strips=way == "prefill")
    sent = asked.text or (asked.messages[-1]["content"] if len(asked.messages) > 1 else "")
    written = asked.stripped + rest  # it goes on where what it was given stops
    assert read(way, asked, prefix, written) == rest
    assert way == "completion" or sent + asked.stripped == prefix


@given(st.text())
def test_no_way_makes_more_tokens_than_bytes_are_counted(prefix: str):
    for way in ("completion", "prefill", "instruct"):
        assert _put(way, prefix=prefix).num_bytes >= len(prefix.rstrip().encode())
