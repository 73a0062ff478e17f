"""The teacher that the others are tested with: its mind, its manners, its faults and its book."""

import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
import teacher_server
from teacher_dialects import Vendor
from teacher_mind import KINDS, AdditionMind, Faults, worked_solution
from teacher_server import Served, TeacherServer, running

from omniopd.tasks import Addition

PROMPT = "4185+5874="
SOLUTION = Addition().of(4185, 5874).solution
USER = {"role": "user", "content": PROMPT}
OPENAI = ("/v1/completions", "/v1/chat/completions")
PATHS = (*OPENAI, "/v1/messages")


def _ask(
    server: TeacherServer, path: str, headers: dict[str, str] | None = None, **body: Any
) -> httpx.Response:
    """One request on a connection of its own."""
    body = {"model": "teacher", "max_tokens": 4, **body}
    return httpx.post(server.origin + path, json=body, headers=headers, timeout=5.0)


def _body(path: str, prefix: str) -> dict[str, Any]:
    if path == "/v1/completions":
        return {"prompt": PROMPT + prefix}
    prefill = [{"role": "assistant", "content": prefix, "prefix": True}] if prefix else []
    return {"messages": [USER, *prefill]}


def _texts_of(path: str, answer: dict[str, Any]) -> list[tuple[str, str]]:
    if path == "/v1/messages":
        return [(block["text"], answer["stop_reason"]) for block in answer["content"]]
    choices = answer["choices"]
    texts = [choice["text"] if "text" in choice else choice["message"]["content"] for choice in choices]
    return [(text, choice["finish_reason"]) for text, choice in zip(texts, choices, strict=True)]


# The mind.


@pytest.mark.parametrize("prompt", [PROMPT, "7+5*3=", "Why is the sky blue?"])
def test_its_solution_is_the_same_however_it_is_cut(prompt: str):
    mind = AdditionMind()
    whole, reason = mind.reply(prompt, "", 10_000, seed=0)
    assert reason == "stop"
    for size in (1, len(whole) // 2, len(whole)):
        assert mind.reply(prompt, whole[:size], 10_000, seed=5) == (whole[size:], "stop")
        assert mind.reply(prompt, "", size, seed=5) == (whole[:size], "length")
    assert mind.reply(prompt, "", len(whole) + 1, seed=0) == (whole, "stop")


def test_it_adds_and_after_a_wrong_step_goes_on_at_the_same_place():
    assert AdditionMind().reply(PROMPT, "", 100, seed=0) == (SOLUTION, "stop")
    assert AdditionMind().reply(PROMPT, "5+4+0=01", 4, seed=0) == (SOLUTION[8:12], "length")
    assert worked_solution("12+34=") is None


def test_noise_is_drawn_from_prompt_prefix_and_seed():
    mind = AdditionMind(noise=0.25)
    replies = [mind.reply(PROMPT, "", 100, seed)[0] for seed in range(200)]
    assert replies == [mind.reply(PROMPT, "", 100, seed)[0] for seed in range(200)]
    changed = sum(a != b for reply in replies for a, b in zip(reply, SOLUTION, strict=True))
    assert changed / (200 * len(SOLUTION)) == pytest.approx(0.25, abs=0.02)
    assert mind.reply(PROMPT, "", 7, seed=3)[0] == replies[3][:7]


# The endpoints.


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("prefix", ["", "5+4+0", SOLUTION])
def test_a_prefix_is_continued_and_billed_a_token_a_character(path: str, prefix: str):
    with running(TeacherServer()) as server:
        answer = _ask(server, path, **_body(path, prefix)).json()
        [(text, reason)] = _texts_of(path, answer)

        rest = SOLUTION[len(prefix) :]
        ended = len(rest) < 4
        assert text == rest[:4]
        anthropic = path == "/v1/messages"
        assert reason == (["max_tokens", "end_turn"] if anthropic else ["length", "stop"])[ended]
        bill = (len(PROMPT + prefix), len(text) + ended)
        names = ("input_tokens", "output_tokens") if anthropic else ("prompt_tokens", "completion_tokens")
        assert tuple(answer["usage"][name] for name in names) == bill
        [line] = server.served
        assert line == Served(path, line.body, *bill, num_replies=1, fault=None)


@pytest.mark.parametrize("path", OPENAI)
def test_reply_i_draws_from_seed_plus_i_and_at_temperature_0_all_are_one(path: str):
    mind = AdditionMind(noise=0.5)
    with running(TeacherServer(mind)) as server:
        for temperature, seeds in ((1.0, [7, 8, 9]), (0, [None] * 3)):
            body = _body(path, "5+4") | {"n": 3, "seed": 7, "temperature": temperature}
            texts = [text for text, _ in _texts_of(path, _ask(server, path, **body).json())]
            assert texts == [mind.reply(PROMPT, "5+4", 4, seed)[0] for seed in seeds]


def test_without_a_seed_every_answer_is_another_sample():
    with running(TeacherServer(AdditionMind(noise=0.5))) as server:
        body = _body("/v1/messages", "") | {"max_tokens": 20}
        assert len({_ask(server, "/v1/messages", **body).json()["content"][0]["text"] for _ in range(4)}) == 4


def test_a_list_of_blocks_is_their_text():
    blocks = [{"type": "text", "text": PROMPT, "cache_control": {"type": "ephemeral"}}]
    with running(TeacherServer()) as server:
        for path in PATHS[1:]:
            answer = _ask(server, path, messages=[{"role": "user", "content": blocks}]).json()
            assert _texts_of(path, answer)[0][0] == SOLUTION[:4]


def test_a_last_turn_of_the_assistant_is_continued_only_where_that_is_asked():
    turns = {"messages": [USER, {"role": "assistant", "content": "5+4"}]}
    chat = "/v1/chat/completions"
    with running(TeacherServer()) as server:
        assert _ask(server, chat, **turns).status_code == 400
        answer = _ask(server, chat, **turns, continue_final_message=True).json()
        assert _texts_of(chat, answer) == [(SOLUTION[3:7], "length")]
    with running(TeacherServer(vendor=Vendor(refuse_prefill=True))) as server:
        assert [_ask(server, path, **_body(path, "5+4")).status_code for path in PATHS] == [200, 400, 400]
    with running(TeacherServer(vendor=Vendor(ignores_prefill=True))) as server:
        texts = [_texts_of(path, _ask(server, path, **_body(path, "5+4")).json())[0][0] for path in PATHS]
        assert texts == [SOLUTION[3:7], SOLUTION[:4], SOLUTION[:4]]
        assert {line.prompt_tokens for line in server.served} == {len(PROMPT) + 3}


def test_an_instruction_is_taken_apart_as_the_hook_says():
    vendor = Vendor(parse_instruct=lambda text: (text.partition("|")[0], text.partition("|")[2]))
    with running(TeacherServer(vendor=vendor)) as server:
        asked = {"messages": [{"role": "user", "content": PROMPT + "|5+4"}]}
        answer = _ask(server, "/v1/chat/completions", **asked).json()
        assert _texts_of("/v1/chat/completions", answer) == [(SOLUTION[3:7], "length")]


@pytest.mark.parametrize("path", PATHS)
def test_errors_have_the_vendors_shape(path: str):
    vendor = Vendor(api_key="right", known_models=("teacher",))
    right = {"Authorization": "Bearer right", "x-api-key": "right"}
    with running(TeacherServer(vendor=vendor)) as server:
        refused = [
            _ask(server, path, **_body(path, "")),
            _ask(server, path, right, **_body(path, "") | {"model": "other"}),
            _ask(server, path, right),
        ]
        assert [answer.status_code for answer in refused] == [401, 404, 400]
        for answer in refused:
            assert answer.json()["error"]["message"]
            assert (answer.json().get("type") == "error") == (path == "/v1/messages")
        assert _ask(server, path, right, **_body(path, "")).status_code == 200
        assert len(server.served) == 1


def test_anthropic_accepts_neither_several_replies_nor_white_space_at_the_end():
    with running(TeacherServer()) as server:
        assert _ask(server, "/v1/messages", **_body("/v1/messages", ""), n=2).status_code == 400
        assert _ask(server, "/v1/messages", **_body("/v1/messages", "5+4 ")).status_code == 400


def test_more_replies_than_the_most_are_refused_or_left_out():
    body = _body("/v1/completions", "") | {"n": 5}
    with running(TeacherServer(vendor=Vendor(max_n=2))) as server:
        assert len(_ask(server, "/v1/completions", **body).json()["choices"]) == 2
    with running(TeacherServer(vendor=Vendor(max_n=2, refuse_n=True))) as server:
        assert _ask(server, "/v1/completions", **body).status_code == 400


def test_what_it_was_asked_and_served_can_be_looked_up():
    with running(TeacherServer(delay_s=0.1)) as server, ThreadPoolExecutor(3) as pool:
        bodies = [_body("/v1/completions", SOLUTION[:size]) for size in range(3)]
        list(pool.map(lambda body: _ask(server, "/v1/completions", **body), bodies))
        book = httpx.get(f"{server.origin}/served").json()
        assert book["served"] == [vars(line) for line in server.served]
        assert (book["num_requests"], len(book["served"])) == (3, 3)
        assert 1 <= book["max_in_flight"] <= 3
        assert httpx.get(f"{server.url}/models").json()["data"][0]["id"] == "teacher"
        assert httpx.get(f"{server.origin}/health").status_code == 200


# The faults.


def test_faults_depend_on_the_body_and_on_how_often_it_was_asked():
    faults = Faults(share=0.3, seed=4)
    hits = [faults.hitting(f"body {i}", i % 3, n=2) for i in range(3000)]
    assert hits == [faults.hitting(f"body {i}", i % 3, n=2) for i in range(3000)]
    assert sum(hit is not None for hit in hits) / 3000 == pytest.approx(0.3, abs=0.03)
    assert set(hits) == {None, *KINDS}
    assert "fewer" not in {faults.hitting(f"body {i}", 0, n=1) for i in range(3000)}
    for i in range(100):
        assert next(k for k in count() if faults.hitting(f"body {i}", k, n=2) is None) < 20


def test_a_filter_hits_a_body_always_or_never():
    faults = Faults(share=0.5, kinds=("drip", "fewer"), filter_share=0.5)
    for i in range(100):
        hits = {faults.hitting(f"body {i}", k, n=2) for k in range(10)}
        assert hits == {"filter"} or "filter" not in hits
    with pytest.raises(ValueError, match="filter_share"):
        Faults(kinds=("filter",))


def _outcome(server: TeacherServer, path: str, **body: Any) -> str:
    try:
        answer = _ask(server, path, **_body(path, ""), **body)
        return f"{answer.status_code} {answer.headers['content-type'].partition(';')[0]}"
    except httpx.TransportError as error:
        return type(error).__name__


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ("rate_limit", "429 application/json"),
        ("server_error", "500 application/json"),
        ("unavailable", "503 application/json"),
        ("reset", "ReadError"),
        ("timeout", "RemoteProtocolError"),
        ("truncated", "RemoteProtocolError"),
        ("content_type", "200 text/html"),
    ],
)
def test_a_fault_without_an_answer_is_not_billed(path: str, kind: str, outcome: str):
    with running(TeacherServer(faults=Faults(share=1.0, kinds=(kind,), slow_s=0.05))) as server:
        assert _outcome(server, path) == outcome
        assert (server.num_requests, server.served) == (1, [])


def test_a_rate_limit_says_when_to_ask_again():
    with running(
        TeacherServer(faults=Faults(share=1.0, kinds=("rate_limit",), retry_after_s=0.07))
    ) as server:
        assert _ask(server, "/v1/completions", prompt=PROMPT).headers["Retry-After"] == "0.07"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("faults", "fault", "num_replies"),
    [
        (Faults(share=1.0, kinds=("empty",)), "empty", 0),
        (Faults(share=1.0, kinds=("drip",), slow_s=0.05), "drip", 3),
        (Faults(share=1.0, kinds=("fewer",)), "fewer", 2),
        (Faults(filter_share=1.0), "filter", 0),
    ],
)
def test_a_fault_with_an_answer_is_billed(path: str, faults: Faults, fault: str | None, num_replies: int):
    anthropic = path == "/v1/messages"
    several = {} if anthropic else {"n": 3}
    with running(TeacherServer(faults=faults)) as server:
        begun_s = time.monotonic()
        answer = _ask(server, path, **_body(path, ""), **several).json()
        if fault == "drip":
            assert time.monotonic() - begun_s >= 0.05

        if fault == "filter":
            refused = ("", "refusal") if anthropic else ("", "content_filter")
            assert set(_texts_of(path, answer)) == {refused}
        else:
            num_replies = min(num_replies, 1) if anthropic else num_replies
            assert [text for text, _ in _texts_of(path, answer)] == [SOLUTION[:4]] * num_replies
        [line] = server.served
        billed_as = None if fault == "fewer" and anthropic else fault
        assert line == Served(path, line.body, len(PROMPT), 4 * num_replies, num_replies, billed_as)


def test_an_answer_that_its_client_did_not_wait_for_is_not_billed():
    with running(TeacherServer(faults=Faults(share=1.0, kinds=("drip",), slow_s=0.3))) as server:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}/completions", json={"prompt": PROMPT}, timeout=0.02)
        time.sleep(0.4)
        assert server.served == []


def test_a_restart_drops_what_is_under_way_and_comes_back_on_the_same_port():
    with running(TeacherServer(delay_s=0.3)) as server, ThreadPoolExecutor(1) as pool:
        url = server.url
        under_way = pool.submit(_outcome, server, "/v1/completions")
        while not server.num_requests:
            time.sleep(0.01)
        server.restart(pause_s=0.05)
        assert under_way.result() in ("RemoteProtocolError", "ReadError")
        assert server.url == url
        assert _outcome(server, "/v1/completions") == "200 application/json"
        assert len(server.served) == 1


def test_a_taken_port_is_an_error_and_a_stall_does_not_hold_up_the_end():
    stalls = Faults(share=1.0, kinds=("timeout",), slow_s=60.0)
    begun_s = time.monotonic()
    with running(TeacherServer(faults=stalls)) as server, ThreadPoolExecutor(1) as pool:
        with pytest.raises(OSError, match="address already in use"), running(TeacherServer(port=server.port)):
            pass
        pool.submit(_outcome, server, "/v1/completions")
        while not server.num_requests:
            time.sleep(0.01)
        server.stop()
    assert time.monotonic() - begun_s < 5.0


def test_as_a_script_its_book_survives_and_a_signal_ends_it(tmp_path: Path):
    port_file, book = tmp_path / "port", tmp_path / "book.jsonl"
    command = [sys.executable, teacher_server.__file__, "--port-file", str(port_file), "--book", str(book)]
    process = subprocess.Popen([*command, "--fault-share", "0.5", "--fault-kinds", "server_error,reset"])
    try:
        while not port_file.exists():
            assert process.poll() is None
            time.sleep(0.02)
        server = TeacherServer(port=int(port_file.read_text()))
        outcomes = [_outcome(server, "/v1/completions", seed=seed) for seed in range(20)]
        lines = [json.loads(line) for line in book.read_text().splitlines()]
        assert 0 < len(lines) == outcomes.count("200 application/json") < 20
        assert lines == httpx.get(f"{server.origin}/served").json()["served"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=5) == 0
    finally:
        process.kill()
        process.wait()
