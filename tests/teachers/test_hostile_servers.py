"""Servers that answer with anything at all: what is kept, what it is booked at, and what is asked again."""

import gzip
import json
import logging
import threading
import time
import tracemalloc
import warnings
import zlib
from email.utils import formatdate
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from raw_server import COMPLETION_TOKENS, PROMPT_TOKENS, RawServer, Sent, answer_of, sending

from omniopd import redaction
from omniopd.config import TeacherConfig
from omniopd.data.conversation import conversation
from omniopd.errors import BudgetError, ConfigError, TeacherError
from omniopd.teachers import TeacherRequest, wire
from omniopd.teachers.answers import Reserved
from omniopd.teachers.cache import ReplyCache
from omniopd.teachers.calls import Endpoint, pause_s
from omniopd.teachers.capabilities import tabled
from omniopd.teachers.client import ApiTeacher
from omniopd.teachers.prices import Prices
from omniopd.teachers.probe import probe

pytestmark = pytest.mark.usefixtures("no_long_waits", "no_connection_left_open")

KEY = "sk-planted/0123456789+abcdef"
ESCAPED = KEY.replace("/", "\\/")
CONFIG = TeacherConfig(kind="api", max_concurrency=8, timeout_s=10.0, max_attempts=2)
PRICES = Prices(input=1e-3, cached_input=1e-4, cache_write=2e-3, output=1e-2)
WAYS = [
    ("completion", "hosted_vllm/demo"), ("prefill", "hosted_vllm/demo"), ("instruct", "openai/demo"),
    ("completion", "openai/demo"),
]  # fmt: skip
PREFIX = "the sum so far"
PROMPT = "a prompt"
MAX_TOKENS = 4
TOKENS = PROMPT_TOKENS + COMPLETION_TOKENS


@pytest.fixture
def teacher_of(tmp_path: Path):
    made = []

    def make(
        server: RawServer, way: str = "completion", model: str = "hosted_vllm/demo", request=None, **settings
    ):
        base_url = server.origin if model.startswith("anthropic") else server.url
        teacher = ApiTeacher(
            Endpoint(model, base_url=base_url, api_key=KEY, prices=PRICES, request=request or {}),
            CONFIG.model_copy(update={"model": model, **settings}),
            way=way,  # pyright: ignore[reportArgumentType]
            capabilities=tabled(model, "http://own/v1"),
            cache=ReplyCache(tmp_path / "teacher.sqlite"),
        )
        made.append(teacher)
        return teacher

    yield make
    for teacher in made:
        teacher.close()


def _request(n: int = 1, seed: int = 1, prefix: str = PREFIX) -> TeacherRequest:
    return TeacherRequest(f"t/{seed}", f"t{seed}", PROMPT, prefix, n, MAX_TOKENS, seed)


def _spent(tmp_path: Path):
    return ReplyCache(tmp_path / "teacher.sqlite").spent()


def _message(way: str, text: Any) -> dict[str, Any]:
    return {"text": text} if way == "completion" else {"message": {"role": "assistant", "content": text}}


NO_REPLIES: dict[str, Any] = {
    "error": {"error": {"message": "upstream failed", "code": 401}},
    "error as text": {"error": "overloaded"},
    "nothing": {},
    "null": {"id": "x", "choices": None},
    "empty": {"id": "x", "choices": []},
    "a mapping": {"choices": {"0": {"text": "x"}}},
    "text": {"choices": "x"},
    "a list": [1, 2],
    "a string": "hello",
    "a number": 7,
    "json's null": None,
    "no json": b"<html>Be right back</html>",
    "no bytes": b"",
    "deep": b"[" * 100_000,
    "long integer": b'{"choices": ' + b"9" * 5000 + b"}",
}
FEW = ("error", "null", "empty", "no json", "deep")  # for the ways that share the first one's reader


@pytest.mark.parametrize(("way", "model"), WAYS)
def test_an_answer_without_replies_is_asked_for_again_and_not_booked(
    tmp_path, teacher_of, caplog, way, model
):
    names = NO_REPLIES if (way, model) == WAYS[0] else FEW
    bodies = [NO_REPLIES[name] for name in names]

    def answer(number: int, *_: object) -> Sent:
        return Sent(bodies[number] if number < len(bodies) else answer_of(way, "=09"))

    with sending(answer) as server:
        (reply,) = teacher_of(server, way, model, max_attempts=len(bodies) + 1).answer([_request()])
        assert len(server.requests) == len(bodies) + 1
    assert (reply.replies, reply.failure) == (["=09"], "")
    assert (_spent(tmp_path).num_calls, _spent(tmp_path).tokens) == (1, TOKENS)
    assert "unreadable: an error in an answer of status 200" in caplog.text


def test_an_error_that_states_its_tokens_is_booked(tmp_path, teacher_of):
    body = {"error": "stopped", "usage": {"prompt_tokens": 3, "completion_tokens": 10**30}}
    with sending(lambda i, *_: Sent(body if i == 0 else answer_of("completion", "=09"))) as server:
        (answer,) = teacher_of(server).answer([_request()])
    assert answer.replies == ["=09"]
    assert (_spent(tmp_path).num_calls, _spent(tmp_path).tokens) == (2, 3 + MAX_TOKENS + TOKENS)


BROKEN_CHOICES: dict[str, Any] = {
    "no text": {"index": 0, "finish_reason": "stop"},
    "text that is a number": {"text": 5, "message": {"content": 5}, "finish_reason": "stop"},
    "text that is a list of numbers": {"text": [1], "message": {"content": [1]}, "finish_reason": "stop"},
    "an image": {"message": {"content": [{"type": "image_url", "image_url": {"url": "x"}}]}},
    "a choice that is null": None,
    "a choice that is text": "x",
    "a message that is text": {"message": "x", "finish_reason": "stop"},
    "half of a surrogate pair": {"text": "\ud83d", "message": {"content": "\ud83d"}, "finish_reason": "stop"},
    "a reason that is a number": {"text": "x", "message": {"content": "x"}, "finish_reason": 10**40},
    "a reason that is a mapping": {"text": "x", "message": {"content": "x"}, "finish_reason": {"a": KEY}},
    "an error as a reason": {"text": "x", "message": {"content": "x"}, "finish_reason": "error"},
    "the key": {"text": f"x {KEY}", "message": {"content": f"x {KEY}"}, "finish_reason": "stop"},
    "the key, escaped": {"text": ESCAPED, "message": {"content": ESCAPED}, "finish_reason": "stop"},
}


@pytest.mark.parametrize(("way", "model"), WAYS[:3])
def test_a_paid_reply_that_cannot_be_kept_is_booked_with_its_reason(tmp_path, teacher_of, way, model):
    other = "message" if way == "completion" else "text"
    choices = [
        {name: value for name, value in choice.items() if name != other}
        if isinstance(choice, dict)
        else choice
        for choice in BROKEN_CHOICES.values()
    ]
    with sending(lambda i, *_: Sent(answer_of(way) | {"choices": [choices[i // 2]]})) as server:
        teacher = teacher_of(server, way, model)
        for i, name in enumerate(BROKEN_CHOICES):
            (answer,) = teacher.answer([_request(seed=i)])
            assert (answer.replies, answer.failure) == ([], "unreadable"), name
            assert len(server.requests) == 2 * (i + 1), f"it is asked again: {name}"
            assert (_spent(tmp_path).num_calls, _spent(tmp_path).tokens) == (
                2 * (i + 1),
                2 * (i + 1) * TOKENS,
            ), name
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert KEY.encode() not in stored
    assert ESCAPED.encode() not in stored


TEXTS = ["a\0b", "\u2028 \U0001f600 \x7f\x1b[0m", "x" * 100_000, "'; DROP TABLE replies; --"]


@pytest.mark.parametrize(("way", "model"), WAYS[:3])
def test_what_is_kept_comes_back_as_it_was(teacher_of, way, model):
    requests = [_request(seed=i) for i in range(len(TEXTS))]
    with sending(lambda i, *_: Sent(answer_of(way, TEXTS[i]))) as server:
        first = teacher_of(server, way, model, max_concurrency=1).answer(requests)
        again = teacher_of(server, way, model).answer(requests)
        assert len(server.requests) == len(TEXTS)
    assert first == again
    assert [answer.replies for answer in first] == [[text] for text in TEXTS]


def test_content_in_parts_is_joined(teacher_of):
    parts = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "4"},
        {"type": "text", "text": "2"},
    ]
    with sending(lambda *_: Sent(answer_of("prefill", parts))) as server:
        (answer,) = teacher_of(server, "prefill").answer([_request()])
    assert answer.replies == ["42"]


def test_replies_are_taken_by_their_index_and_each_index_once(teacher_of):
    choices = [
        {"index": i, "text": text, "finish_reason": "length"} for i, text in ((1, "b"), (0, "a"), (1, "c"))
    ]
    with sending(lambda *_: Sent(answer_of("completion") | {"choices": choices})) as server:
        (answer,) = teacher_of(server).answer([_request(2)])
    assert answer.replies == ["a", "b"]


# Replies without words.


WORDLESS: list[tuple[str, dict[str, Any], str]] = [
    ("prefill", {"reason": "length"}, "empty"),
    ("completion", {"reason": "length"}, "empty"),
    ("prefill", {"reason": "length", "reasoning_content": "Hm."}, "only_thinking"),
    ("prefill", {"reason": "stop", "reasoning_content": "Hm."}, "only_thinking"),
    ("instruct", {"reason": "stop", "reasoning": "Hm."}, "only_thinking"),
    ("prefill", {"reason": "stop", "refusal": "I cannot."}, "content_filter"),
]


@pytest.mark.parametrize(("way", "fields", "reason"), WORDLESS)
@pytest.mark.parametrize("text", ["", None])
def test_a_reply_of_thoughts_alone_is_a_failure_and_paid_once(
    tmp_path, teacher_of, way, fields, reason, text
):
    if way == "completion" and text is None:
        pytest.skip("no text is unreadable there")
    with sending(lambda *_: Sent(answer_of(way, text, **fields))) as server:
        (answer,) = teacher_of(server, way).answer([_request()])
        assert len(server.requests) == 1
    assert (answer.replies, answer.failure) == ([], reason)
    assert _spent(tmp_path).tokens == TOKENS


@pytest.mark.parametrize(("way", "text"), [("completion", ""), ("prefill", ""), ("prefill", None)])
def test_a_teacher_that_ends_right_there_has_answered(teacher_of, way, text):
    with sending(lambda *_: Sent(answer_of(way, text, reason="stop"))) as server:
        (answer,) = teacher_of(server, way).answer([_request()])
    assert (answer.replies, answer.finish_reasons, answer.failure) == ([""], ["stop"], "")


# What calls are booked at.

PROMPT_BYTES = len(PROMPT + PREFIX)
RESERVED_PROMPT = PROMPT_BYTES + 64
USAGES: dict[str, tuple[Any, int, int]] = {
    "honest": ({"prompt_tokens": 6, "completion_tokens": 2}, 6, 2),
    "missing": (None, RESERVED_PROMPT, MAX_TOKENS),
    "empty": ({}, RESERVED_PROMPT, MAX_TOKENS),
    "partial": ({"prompt_tokens": 6}, 6, MAX_TOKENS),
    "null": ({"prompt_tokens": None, "completion_tokens": 2}, RESERVED_PROMPT, 2),
    "negative": ({"prompt_tokens": -6, "completion_tokens": -(10**9)}, RESERVED_PROMPT, MAX_TOKENS),
    "zero": ({"prompt_tokens": 0, "completion_tokens": 0}, RESERVED_PROMPT, MAX_TOKENS),
    "too little": ({"prompt_tokens": 1, "completion_tokens": 1}, 3, 1),
    "too much": ({"prompt_tokens": 10**6, "completion_tokens": 10**6}, RESERVED_PROMPT, MAX_TOKENS),
    "beyond 64 bits": ({"prompt_tokens": 2**70, "completion_tokens": 2**70}, RESERVED_PROMPT, MAX_TOKENS),
    "text": ({"prompt_tokens": "6", "completion_tokens": [2]}, RESERVED_PROMPT, MAX_TOKENS),
    "no number": (
        {"prompt_tokens": float("nan"), "completion_tokens": float("inf")},
        RESERVED_PROMPT,
        MAX_TOKENS,
    ),
    "a list": ([1, 2], RESERVED_PROMPT, MAX_TOKENS),
    "true": ({"prompt_tokens": True, "completion_tokens": 2.0}, RESERVED_PROMPT, 2),
}


@pytest.mark.parametrize(("usage", "prompt", "completion"), USAGES.values(), ids=USAGES)
def test_a_call_is_booked_between_what_was_counted_here_and_what_was_reserved(
    tmp_path, teacher_of, usage, prompt, completion
):
    body = answer_of("completion", "=09") | {"usage": usage}
    with sending(lambda *_: Sent(body)) as server:
        (answer,) = teacher_of(server).answer([_request()])
    assert answer.replies == ["=09"], "the reply was paid, and is kept"
    assert (answer.prompt_tokens, answer.completion_tokens) == (prompt, completion)
    assert _spent(tmp_path).tokens == prompt + completion
    assert answer.cost_usd == pytest.approx(1e-3 * prompt + 1e-2 * completion)


def test_what_is_reserved_is_booked_at_the_dearer_price_of_a_prompt():
    reserved = Reserved(PROMPT_BYTES, MAX_TOKENS)
    assert reserved.usage(PRICES).cost_usd == pytest.approx(2e-3 * RESERVED_PROMPT + 1e-2 * MAX_TOKENS)
    cheap_cache = Prices(input=1e-3, cached_input=1e-4, cache_write=0.0, output=1e-2)
    assert reserved.usage(cheap_cache).cost_usd == pytest.approx(1e-3 * RESERVED_PROMPT + 1e-2 * MAX_TOKENS)


@pytest.mark.parametrize("cached", [10**30, -5, "x", None, float("nan")])
def test_no_more_of_a_prompt_was_cached_than_there_is(teacher_of, cached):
    details = {"cached_tokens": cached, "cache_creation_tokens": cached}
    usage = {"prompt_tokens": 6, "completion_tokens": 2, "prompt_tokens_details": details}
    with sending(lambda *_: Sent(answer_of("completion", "=09", usage=usage))) as server:
        (answer,) = teacher_of(server).answer([_request()])
    price = 1e-4 if cached == 10**30 else 1e-3
    assert answer.cost_usd == pytest.approx(price * 6 + 1e-2 * 2)


@pytest.mark.parametrize(
    "usage", [None, {}, {"prompt_tokens": -9, "completion_tokens": -9}, {"prompt_tokens": 2**70}]
)
def test_a_budget_holds_whatever_usage_says_and_however_many_ask(tmp_path, teacher_of, usage):
    body = answer_of("completion", "=09") | {"usage": usage}
    stopped = []

    def ask(first: int) -> None:
        try:
            teacher_of(server, budget_tokens=1000).answer([_request(seed=first + i) for i in range(10)])
        except BudgetError as error:
            stopped.append(error)

    with sending(lambda *_: Sent(body)) as server:
        threads = [threading.Thread(target=ask, args=(100 * i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        asked = len(server.requests)
    assert stopped
    assert _spent(tmp_path).num_calls == asked == 1000 // (RESERVED_PROMPT + MAX_TOKENS)
    assert _spent(tmp_path).tokens <= 1000


# HTTP.


@pytest.mark.parametrize(
    ("header", "pause"),
    [
        ("0.5", 0.5),
        ("inf", 60),
        ("-inf", 0),
        ("nan", None),
        ("-3", 0),
        ("7200", 60),
        ("1e400", 60),
        ("soon", None),
    ],
)
def test_the_pause_that_a_server_asks_for_is_a_minute_at_most(header, pause):
    assert pause_s(header) == pause


def test_a_pause_may_be_given_as_a_date():
    assert 5 < pause_s(formatdate(time.time() + 10, usegmt=True)) <= 10
    assert pause_s(formatdate(time.time() + 7200, usegmt=True)) == 60
    assert pause_s("Wed, 99 Foo 99999 00:00:00 GMT") is None


REDIRECTED = [*WAYS[:3], ("prefill", "anthropic/claude-haiku-4-5")]


@pytest.mark.parametrize(
    ("way", "model", "status"),
    [(*pair, 307) for pair in REDIRECTED] + [("completion", "hosted_vllm/demo", 302)],
)
def test_no_key_follows_a_redirect_to_another_server(teacher_of, way, model, status):
    with sending(lambda *_: Sent(answer_of(way, "=09"))) as other:
        target = {"Location": f"{other.url}/completions"}
        with sending(lambda *_: Sent(b"", status, target)) as server:
            with pytest.raises(ConfigError, match="redirects to another server .*teacher.base_url"):
                teacher_of(server, way, model).answer([_request()])
            assert len(server.requests) == 1
        assert other.requests == []


@pytest.mark.parametrize(
    "location", ["http://[::bad", "http:///x", "http://host:99999/", "file:///etc/passwd"]
)
def test_a_redirect_to_no_address_stops_the_run_too(teacher_of, location):
    with sending(lambda *_: Sent(b"", 307, {"Location": location})) as server:
        with pytest.raises(ConfigError, match="redirects to another server"):
            teacher_of(server).answer([_request()])
        assert len(server.requests) == 1


def test_a_redirect_on_the_same_server_is_followed(teacher_of):
    moved = {"Location": "/v2/completions"}
    with sending(
        lambda i, *_: Sent(b"", 307, moved) if i == 0 else Sent(answer_of("completion", "=09"))
    ) as server:
        (answer,) = teacher_of(server).answer([_request()])
        assert [path for path, _, _ in server.requests] == ["/v1/completions", "/v2/completions"]
    assert answer.replies == ["=09"]


@cache
def _bomb(coding: str) -> bytes:
    """An answer of 24 MiB, or of 2 where it is sent as it is."""
    body = b'{"choices": [{"text": "' + b"x" * (24 * 2**20 if coding != "identity" else 2**21)
    pack = {"gzip": partial(gzip.compress, compresslevel=1), "deflate": partial(zlib.compress, level=1)}
    return pack[coding](body) if coding in pack else body


@pytest.mark.parametrize(
    ("way", "model", "coding"),
    [(*pair, "gzip") for pair in REDIRECTED]
    + [("completion", "hosted_vllm/demo", coding) for coding in ("deflate", "identity")],
)
def test_an_answer_has_a_size_limit_decompressed(tmp_path, teacher_of, monkeypatch, way, model, coding):
    monkeypatch.setattr(wire, "MAX_BYTES", 2**20)
    sent = Sent(_bomb(coding), headers={"Content-Encoding": coding})
    with sending(lambda *_: sent) as server:
        teacher = teacher_of(server, way, model)
        tracemalloc.start()
        (answer,) = teacher.answer([_request()])
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(server.requests) == 1
    assert answer.failure == "too_large"
    assert peak < 12 * 2**20
    assert _spent(tmp_path).num_calls == 1


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_compressed_answer_is_read(teacher_of, coding):
    pack = {"gzip": gzip.compress, "deflate": zlib.compress}[coding]
    sent = Sent(
        pack(json.dumps(answer_of("completion", "=09")).encode()), headers={"Content-Encoding": coding}
    )
    with sending(lambda *_: sent) as server:
        (answer,) = teacher_of(server).answer([_request()])
    assert answer.replies == ["=09"]


# What is sent.


def test_a_users_body_is_merged_with_what_a_prefill_needs(teacher_of):
    request = {
        "extra_body": {"top_k": 20, "chat_template_kwargs": {"enable_thinking": False}},
        "max_tokens": 999,
    }
    with sending(lambda *_: Sent(answer_of("prefill", "=09"))) as server:
        teacher_of(server, "prefill", request=request).answer([_request()])
        sent = json.loads(server.requests[0][2])
    assert (sent["continue_final_message"], sent["add_generation_prompt"]) == (True, False)
    assert (sent["top_k"], sent["chat_template_kwargs"]) == (20, {"enable_thinking": False})
    assert sent["max_tokens"] == MAX_TOKENS


PROBED = {
    "thoughts alone": ({"reasoning_content": "Hm."}, "", ["thinking", "teacher.request", "reasoning_effort"]),
    "cut before a word": ({}, "", ["cut", "teacher.request"]),
    "nothing at all": ({"reason": "stop"}, "", ["wrote nothing"]),
}


@pytest.mark.parametrize(("fields", "text", "named"), PROBED.values(), ids=PROBED)
def test_the_probe_refuses_a_teacher_that_writes_nothing(teacher_of, fields, text, named):
    known = tabled("hosted_vllm/demo", "http://own/v1")
    with (
        sending(lambda *_: Sent(answer_of("prefill", text, **fields))) as server,
        pytest.raises(TeacherError) as raised,
    ):
        probe(
            [conversation(PROMPT), conversation("another")],
            ways=("prefill",), capabilities=known, teacher_of=lambda _: teacher_of(server, "prefill"), tokens_of=list,
        )  # fmt: skip
    assert all(part in str(raised.value) for part in named)


def test_the_probe_refuses_a_teacher_that_stops_at_each_prefix(teacher_of):
    def answer(_number: int, _headers: object, sent: Any) -> Sent:
        is_prefilled = sent["messages"][-1]["role"] == "assistant"
        return Sent(answer_of("prefill", "" if is_prefilled else "a solution", reason="stop"))

    known = tabled("hosted_vllm/demo", "http://own/v1")
    with sending(answer) as server, pytest.raises(TeacherError, match="does not continue"):
        probe(
            [conversation(PROMPT)], ways=("prefill",), capabilities=known, tokens_of=list,
            teacher_of=lambda _: teacher_of(server, "prefill"),
        )  # fmt: skip


# Keys.


@pytest.mark.parametrize(("way", "model"), REDIRECTED)
@pytest.mark.parametrize("status", [200, 400, 401, 429, 500])
def test_a_server_that_echoes_the_key_puts_it_nowhere(
    tmp_path, teacher_of, caplog, capfd, way, model, status
):
    caplog.set_level(logging.DEBUG)
    echo = {"error": {"message": f"you sent Authorization: Bearer {KEY} and {redaction.quote(KEY, safe='')}"}}
    headers = {"X-Echo": KEY, "Retry-After": "0"}
    with sending(lambda *_: Sent(echo, status, headers)) as server:
        raised = ""
        try:
            (answer,) = teacher_of(server, way, model).answer([_request()])
            assert answer.failure
        except ConfigError as error:
            raised = "".join(redaction.traceback.format_exception(error))
        with pytest.warns(UserWarning, match="it sent") as warned:
            warnings.warn(f"it sent {KEY}", stacklevel=1)
        logging.getLogger("another").error("it sent %s", {"x-api-key": KEY})
        try:
            raise ValueError(KEY)
        except ValueError:
            logging.getLogger("another").exception("it broke")
    printed = capfd.readouterr()
    [warning] = warned
    shown = warnings.formatwarning(warning.message, warning.category, warning.filename, warning.lineno)
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for text in (caplog.text, printed.out, printed.err, shown, raised, stored.decode(errors="replace")):
        assert KEY not in text
        assert KEY[4:16] not in text
    assert redaction.MASK in caplog.text
    assert redaction.MASK in shown
    assert bool(raised) == (status == 401)
