"""A teacher whose mind is known, behind HTTP as OpenAI and Anthropic speak it, with faults on a schedule.

In a test: `with running(TeacherServer(faults=Faults(share=0.2))) as server: ask(server.url)`. As a process of its
own: `python tests/teacher_server.py --port 0 --port-file port.txt --book served.jsonl`, which ends on SIGTERM.
"""

import argparse
import asyncio
import json
import os
import random
import re
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from aiohttp import web
from loopback import HOST, Addressed

from omniopd.tasks import TASKS, Addition

SUM = re.compile(r"(\d{4})\+(\d{4})=")
DIGITS = "0123456789"
MEAN_LEN = 32  # of what is written after a text that asks for no sum
NUM_DRIPS = 10
SHUTDOWN_S = 1.0

# What of a body makes two requests the same.
TELLING = (
    "model", "prompt", "messages", "system", "n", "max_tokens", "max_completion_tokens", "temperature", "seed",
)  # fmt: skip
KINDS = (
    "rate_limit", "server_error", "unavailable", "reset", "timeout", "empty", "truncated", "fewer", "drip",
    "content_type",
)  # fmt: skip
STATUSES = {"rate_limit": 429, "server_error": 500, "unavailable": 503}
UNANSWERED = {*STATUSES, "reset", "timeout", "truncated", "content_type"}

Reply = tuple[str, str]  # text, and "stop", "length" or "content_filter"
Split = tuple[str, str]  # prompt, and prefix


class Mind(Protocol):
    """What the teacher thinks, in characters: so many are a token as the vendor has it, and the end is one."""

    def reply(self, prompt: str, prefix: str, max_chars: int, seed: int | None) -> Reply:
        """What follows the prefix, and "stop", or "length" where its end is not within max_chars."""
        ...

    def split(self, text: str) -> Split:
        """A text to complete, as prompt and prefix."""
        ...


@dataclass(frozen=True)
class AdditionMind:
    """Adds as the built-in task does. After a wrong prefix it goes on at the same place of its own solution.

    To any other text it writes digits, each determined by all that stands before it: its solution of a prompt is
    one and the same, however it is cut. `noise` is the probability that a character becomes another digit,
    where a seed says how.

    >>> AdditionMind().reply("4185+5874=", "5+4+0", 4, seed=0)
    ('=09;', 'length')
    """

    noise: float = 0.0

    def reply(self, prompt: str, prefix: str, max_chars: int, seed: int | None) -> Reply:
        solution = worked_solution(prompt)
        if solution is None:
            text, reason = _digits_after(prompt + prefix, max_chars)
        else:
            rest = solution[len(prefix) :]
            text, reason = rest[:max_chars], "stop" if len(rest) < max_chars else "length"
        return text if seed is None else self._noisy(text, prompt, prefix, seed), reason

    def split(self, text: str) -> Split:
        match = SUM.match(text)
        end = match.end() if match else len(text)
        return text[:end], text[end:]

    def _noisy(self, text: str, *drawn_from: object) -> str:
        if not self.noise:
            return text
        rng = random.Random(_hash(*drawn_from))
        return "".join(_other_digit(char, rng) if rng.random() < self.noise else char for char in text)


@lru_cache(maxsize=65536)
def worked_solution(prompt: str) -> str | None:
    """The solution of a sum of two numbers of four digits; None of anything else."""
    match = SUM.fullmatch(prompt)
    task = TASKS["addition"]
    assert isinstance(task, Addition)
    return task.of(int(match[1]), int(match[2])).solution if match else None


@dataclass(frozen=True)
class Faults:
    """Which request fails and how: the same for the same body asked for the same time.

    `share` of the requests are hit, by one of `kinds`. A filter hits `filter_share` of the bodies, whenever they
    are asked. "timeout" stalls for slow_s and drops the connection; "drip" sends its answer over slow_s. "fewer"
    hits only where more than one reply is asked for.

    >>> Faults(share=1.0, kinds=("reset",)).hitting("5f0c", num_asked=3, n=1)
    'reset'
    """

    share: float = 0.0
    seed: int = 0
    kinds: tuple[str, ...] = KINDS
    retry_after_s: float = 0.05
    slow_s: float = 1.0
    filter_share: float = 0.0

    def __post_init__(self):
        if unknown := set(self.kinds) - set(KINDS):
            raise ValueError(
                f"kinds: {sorted(unknown)}: choose from {KINDS}; filters have filter_share, and restart() a restart"
            )

    def hitting(self, body: str, num_asked: int, n: int) -> str | None:
        """The kind of fault that hits a body which was asked num_asked times before, for n replies; None for none."""
        kinds = [kind for kind in self.kinds if kind != "fewer" or n > 1]
        kind = None
        if kinds and _share(self.seed, "hit", body, num_asked) < self.share:
            kind = kinds[_hash(self.seed, "kind", body, num_asked) % len(kinds)]
        if kind not in (None, "fewer", "drip"):
            return kind
        return (
            "filter" if self.filter_share and _share(self.seed, "filter", body) < self.filter_share else kind
        )


@dataclass(frozen=True)
class Vendor:
    """What the API accepts. A key or a set of models that is None accepts any.

    Above max_n replies a request is refused (`refuse_n`) or brings max_n. A last turn of the assistant is refused
    (`refuse_prefill`) or answered from the beginning (`ignores_prefill`). `parse_instruct` takes prompt and prefix
    from every user message, also from one that is the prompt alone. Where it `echoes`, its errors quote the key.

    >>> Vendor(max_n=4, api_key="right").refuse_n
    False
    """

    max_n: int | None = None
    refuse_n: bool = False
    refuse_prefill: bool = False
    ignores_prefill: bool = False
    api_key: str | None = None
    known_models: tuple[str, ...] | None = None
    chars_per_token: int = 1
    parse_instruct: Callable[[str], Split] | None = None
    echoes: bool = False


@dataclass(frozen=True)
class Asked:
    """A request as the mind is asked it. A seed of None draws anew each time.

    >>> Asked("teacher", "4185+5874=", "5+4", prompt_tokens=13, n=4, max_tokens=2, temperature=1.0, seed=488).n
    4
    """

    model: str
    prompt: str
    prefix: str
    prompt_tokens: int
    n: int
    max_tokens: int
    temperature: float
    seed: int | None
    chars_per_token: int = 1

    def num_tokens(self, replies: Sequence[Reply]) -> int:
        """What is billed for the replies."""
        return sum(-(-len(text) // self.chars_per_token) + (reason == "stop") for text, reason in replies)


@dataclass(frozen=True)
class Served:
    """A line of the book: an answer that was sent whole, and is billed. Filtered replies do not count as replies.

    >>> Served("/v1/completions", "5f0c", 13, 8, num_replies=4, fault=None).completion_tokens
    8
    """

    path: str
    body: str
    prompt_tokens: int
    completion_tokens: int
    num_replies: int
    fault: str | None


class Refused(Exception):
    """A request that is answered with an error of its vendor's."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Dialect:
    """How one endpoint is spoken to: what a body asks, what an answer and an error look like, where the key is.

    >>> DIALECTS["/v1/messages"].key_header
    'x-api-key'
    """

    read: Callable[[Mapping[str, Any], Vendor, Mind], Asked]
    write: Callable[[Asked, Sequence[Reply], str], dict[str, Any]]
    error: Callable[[int, str], dict[str, Any]]
    key_header: str = "Authorization"
    key_prefix: str = "Bearer "


class TeacherServer(Addressed):
    """Serves on a port of loopback, and keeps book of what it served.

    port: 0 takes a free one. delay_s: passes before each answer. book: a file that each line of the book is
    appended to before its answer is finished. Replies at temperature 0 draw from no seed.
    """

    def __init__(
        self,
        mind: Mind | None = None,
        *,
        vendor: Vendor | None = None,
        faults: Faults | None = None,
        delay_s: float = 0.0,
        book: Path | None = None,
        port: int = 0,
    ):
        self.port = port
        self.served: list[Served] = []
        self.num_requests = 0
        self.max_in_flight = 0
        self._mind: Mind = mind or AdditionMind()
        self._vendor = vendor or Vendor()
        self._faults = faults or Faults()
        self._delay_s = delay_s
        self._book_path = book
        self._book: BinaryIO | None = None
        self._in_flight = 0
        self._num_asked: dict[str, int] = {}
        self._num_drawn: dict[str, int] = {}

    @property
    def num_in_flight(self) -> int:
        """How many requests are being answered."""
        return self._in_flight

    async def serve(self, on_listening: Callable[[], object]) -> None:
        """Listen until stop() is called."""
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        # A client that has gone ends the work on its answer: what is in the book was sent.
        self._runner = web.AppRunner(
            self._app(), access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN_S
        )
        with ExitStack() as stack:
            if self._book_path is not None:
                self._book = stack.enter_context(open(self._book_path, "ab", buffering=0))
            await self._runner.setup()
            try:
                await self._listen()
                on_listening()
                await self._stopped.wait()
            finally:
                await self._hang_up()
                await self._runner.cleanup()

    def stop(self) -> None:
        """End serve(), from any thread and as often as wanted."""
        with suppress(RuntimeError):  # its loop is closed: it has ended
            self._loop.call_soon_threadsafe(self._stopped.set)

    def restart(self, pause_s: float = 0.1) -> None:
        """Drop every connection, refuse new ones for a pause and listen again; not from the server's own thread."""
        asyncio.run_coroutine_threadsafe(self._restart(pause_s), self._loop).result()

    def restart_soon(self, pause_s: float = 0.1) -> None:
        """The same, from the server's own thread."""
        self._restarting = self._loop.create_task(self._restart(pause_s))

    async def _restart(self, pause_s: float) -> None:
        await self._hang_up()
        await asyncio.sleep(pause_s)
        await self._listen()

    async def _listen(self) -> None:
        await web.TCPSite(self._runner, HOST, self.port, backlog=1024).start()
        self.port = self._runner.addresses[0][1]

    async def _hang_up(self) -> None:
        for site in self._runner.sites:
            await site.stop()
        server = self._runner.server
        for connection in list(server.connections) if server is not None else []:
            if connection.transport is not None:
                connection.transport.abort()

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=2**26)
        for path in DIALECTS:
            app.router.add_post(path, self._post)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/health", self._health)
        app.router.add_get("/served", self._tell_served)
        return app

    async def _models(self, _: web.Request) -> web.Response:
        names = self._vendor.known_models or ("teacher",)
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "tests"} for name in names]
        return _json(200, {"object": "list", "data": models})

    async def _health(self, _: web.Request) -> web.Response:
        return _json(200, {"status": "ok"})

    async def _tell_served(self, _: web.Request) -> web.Response:
        counts = {"num_requests": self.num_requests, "max_in_flight": self.max_in_flight}
        return _json(200, {"served": [vars(line) for line in self.served], **counts})

    async def _post(self, request: web.Request) -> web.StreamResponse:
        self.num_requests += 1
        self._in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self._in_flight)
        try:
            return await self._answer(request, DIALECTS[request.path])
        except ConnectionResetError:
            return web.Response()  # to nobody
        finally:
            self._in_flight -= 1

    async def _answer(self, request: web.Request, dialect: Dialect) -> web.StreamResponse:
        sent = await request.read()
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        try:
            content = _parsed(sent)
            self._admit(request, content, dialect)
            asked = dialect.read(content, self._vendor, self._mind)
        except Refused as refused:
            return _json(refused.status, dialect.error(refused.status, str(refused)))
        body = body_hash(request.path, content)
        num_asked = self._num_asked.get(body, 0)
        self._num_asked[body] = num_asked + 1
        fault = self._faults.hitting(body, num_asked, asked.n)
        if fault in UNANSWERED:
            return await self._fail(request, dialect, asked, fault)
        return await self._give(request, dialect, asked, body=body, fault=fault)

    def _admit(self, request: web.Request, content: Mapping[str, Any], dialect: Dialect) -> None:
        vendor = self._vendor
        given = request.headers.get(dialect.key_header)
        if vendor.api_key is not None and given != dialect.key_prefix + vendor.api_key:
            raise Refused(401, "the key is not known here")
        if vendor.known_models is not None and content.get("model") not in vendor.known_models:
            raise Refused(404, f"model: {content.get('model')} does not exist")

    async def _give(
        self, request: web.Request, dialect: Dialect, asked: Asked, *, body: str, fault: str | None
    ) -> web.StreamResponse:
        """The answer, and its line in the book just before its last byte."""
        replies = self._replies(asked, body, fault)
        payload = json.dumps(dialect.write(asked, replies, f"{body}-{self._num_asked[body]}")).encode()
        num_whole = sum(reason != "content_filter" for _, reason in replies)
        line = Served(request.path, body, asked.prompt_tokens, asked.num_tokens(replies), num_whole, fault)
        if fault == "drip":
            return await self._drip(request, payload, line)
        self._enter(line)
        return web.Response(body=payload, content_type="application/json")

    def _replies(self, asked: Asked, body: str, fault: str | None) -> list[Reply]:
        if fault == "empty":
            return []
        if fault == "filter":
            return [("", "content_filter")] * asked.n
        seeds = self._seeds(asked, body)[: -1 if fault == "fewer" else None]
        max_chars = asked.max_tokens * asked.chars_per_token
        return [self._mind.reply(asked.prompt, asked.prefix, max_chars, seed) for seed in seeds]

    def _seeds(self, asked: Asked, body: str) -> list[int | None]:
        if asked.temperature == 0:
            return [None] * asked.n
        first = asked.seed
        if first is None:
            first = self._num_drawn.get(body, 0)
            self._num_drawn[body] = first + asked.n
        return [first + i for i in range(asked.n)]

    def _enter(self, line: Served) -> None:
        self.served.append(line)
        if self._book is not None:
            self._book.write(json.dumps(vars(line)).encode() + b"\n")

    async def _drip(self, request: web.Request, payload: bytes, line: Served) -> web.StreamResponse:
        response = await _begun(request, len(payload))
        step = max(1, len(payload) // NUM_DRIPS)
        for start in range(0, len(payload) - 1, step):
            await response.write(payload[start : min(start + step, len(payload) - 1)])
            await asyncio.sleep(self._faults.slow_s / NUM_DRIPS)
        self._enter(line)
        await response.write(payload[-1:])
        return response

    async def _fail(
        self, request: web.Request, dialect: Dialect, asked: Asked, fault: str
    ) -> web.StreamResponse:
        match fault:
            case "timeout":
                await asyncio.sleep(self._faults.slow_s)
                return _dropped(request, resets=False)
            case "reset":
                return _dropped(request, resets=True)
            case "content_type":
                return web.Response(text="<html><body>Be right back.</body></html>", content_type="text/html")
            case "truncated":
                payload = json.dumps(dialect.write(asked, [("", "stop")], "cut")).encode()
                return await _truncated(request, payload)
        status = STATUSES[fault]
        key = f" for {request.headers.get(dialect.key_header)}" if self._vendor.echoes else ""
        headers = {"Retry-After": str(self._faults.retry_after_s)} if fault == "rate_limit" else {}
        return _json(status, dialect.error(status, f"{fault}, on schedule{key}"), headers)


@contextmanager
def running(server: TeacherServer) -> Iterator[TeacherServer]:
    """The server, listening in a thread of its own, and everything closed at the end.

    Raises:
        OSError: the port is taken.
    """
    listening = threading.Event()
    with ThreadPoolExecutor(1, thread_name_prefix="teacher-server") as pool:
        ended = pool.submit(asyncio.run, server.serve(listening.set))
        ended.add_done_callback(lambda _: listening.set())
        listening.wait()
        if ended.done():
            ended.result()
        try:
            yield server
        finally:
            server.stop()
            ended.result()


def body_hash(path: str, content: Mapping[str, Any]) -> str:
    """A name for what is asked, whatever else a client sends along."""
    telling = [path, *(content.get(name) for name in TELLING)]
    return blake2b(json.dumps(telling, sort_keys=True).encode(), digest_size=12).hexdigest()


def _hash(*parts: object) -> int:
    """48 bits from the parts, the same in every process."""
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(blake2b(text.encode(errors="surrogatepass"), digest_size=6).digest(), "big")


def _share(*parts: object) -> float:
    return _hash(*parts) / 2**48


def _other_digit(char: str, rng: random.Random) -> str:
    return rng.choice([digit for digit in DIGITS if digit != char])


def _digits_after(text: str, max_chars: int) -> Reply:
    seen = blake2b(text.encode(errors="surrogatepass"), digest_size=6)
    written = ""
    for _ in range(max_chars):
        drawn = int.from_bytes(seen.digest(), "big")
        if drawn % MEAN_LEN == 0:
            return written, "stop"
        written += DIGITS[drawn // MEAN_LEN % len(DIGITS)]
        seen.update(written[-1].encode())
    return written, "length"


# Requests.


def _parsed(sent: bytes) -> dict[str, Any]:
    try:
        content = json.loads(sent)
    except ValueError as error:
        raise Refused(400, f"the body is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise Refused(400, "the body is not a JSON object")
    return content


def _read_completion(content: Mapping[str, Any], vendor: Vendor, mind: Mind) -> Asked:
    text = content.get("prompt")
    if isinstance(text, list) and len(text) == 1:
        text = text[0]
    if not isinstance(text, str):
        raise Refused(400, "prompt: one string is needed")
    prompt, prefix = mind.split(text)
    return _asked(content, vendor, prompt, prefix, max_tokens=content.get("max_tokens") or 16)


def _read_chat(content: Mapping[str, Any], vendor: Vendor, _: Mind) -> Asked:
    question, begun, last = _turns(content, vendor)
    if begun is not None and not (content.get("continue_final_message") or last.get("prefix")):
        raise Refused(400, "messages: the last one is the assistant's, and nothing says to continue it")
    prompt, prefix, is_heard = _put(question, begun, vendor)
    max_tokens = content.get("max_tokens") or content.get("max_completion_tokens") or 4096
    return _asked(content, vendor, prompt, prefix, max_tokens=max_tokens, is_heard=is_heard)


def _read_message(content: Mapping[str, Any], vendor: Vendor, _: Mind) -> Asked:
    for name in ("n", "seed"):
        if name in content:
            raise Refused(400, f"{name}: Extra inputs are not permitted")
    if not content.get("max_tokens"):
        raise Refused(400, "max_tokens: Field required")
    question, begun, _ = _turns(content, vendor)
    if begun is not None and begun[-1:].isspace():
        raise Refused(400, "messages: final assistant content cannot end with trailing whitespace")
    prompt, prefix, is_heard = _put(question, begun, vendor)
    return _asked(content, vendor, prompt, prefix, max_tokens=content["max_tokens"], is_heard=is_heard)


def _turns(content: Mapping[str, Any], vendor: Vendor) -> tuple[str, str | None, Mapping[str, Any]]:
    """The last user message, what the assistant had begun to say after it, and the last message as it was sent."""
    messages = content.get("messages") or []
    questions = [_text(message) for message in messages if message.get("role") == "user"]
    if not questions:
        raise Refused(400, "messages: at least one of the user is needed")
    last = messages[-1]
    if last["role"] != "assistant":
        return questions[-1], None, last
    if vendor.refuse_prefill:
        raise Refused(400, "This model does not support assistant message prefill.")
    return questions[-1], _text(last), last


def _put(question: str, begun: str | None, vendor: Vendor) -> tuple[str, str, bool]:
    """Prompt and prefix, and whether the prefix is continued."""
    if begun is not None:
        return question, begun, not vendor.ignores_prefill
    prompt, prefix = vendor.parse_instruct(question) if vendor.parse_instruct else (question, "")
    return prompt, prefix, True


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(block["text"] for block in content if block.get("type") == "text")


def _asked(
    content: Mapping[str, Any],
    vendor: Vendor,
    prompt: str,
    prefix: str,
    *,
    max_tokens: int,
    is_heard: bool = True,
) -> Asked:
    n, temperature = content.get("n") or 1, content.get("temperature")
    if vendor.max_n is not None and n > vendor.max_n:
        if vendor.refuse_n:
            raise Refused(400, f"n: {n} is more than {vendor.max_n}")
        n = vendor.max_n
    return Asked(
        model=content.get("model") or "teacher",
        prompt=prompt,
        prefix=prefix if is_heard else "",
        prompt_tokens=-(-(len(prompt) + len(prefix)) // vendor.chars_per_token),
        n=n,
        max_tokens=max_tokens,
        temperature=1.0 if temperature is None else temperature,
        seed=content.get("seed"),
        chars_per_token=vendor.chars_per_token,
    )


# Answers.


def _write_completion(asked: Asked, replies: Sequence[Reply], name: str) -> dict[str, Any]:
    choices = [
        {"index": i, "text": text, "logprobs": None, "finish_reason": reason}
        for i, (text, reason) in enumerate(replies)
    ]
    return _openai(asked, replies, choices, f"cmpl-{name}", "text_completion")


def _write_chat(asked: Asked, replies: Sequence[Reply], name: str) -> dict[str, Any]:
    choices = [
        {"index": i, "message": {"role": "assistant", "content": text}, "finish_reason": reason}
        for i, (text, reason) in enumerate(replies)
    ]
    return _openai(asked, replies, choices, f"chatcmpl-{name}", "chat.completion")


def _openai(
    asked: Asked, replies: Sequence[Reply], choices: list[dict[str, Any]], name: str, kind: str
) -> dict[str, Any]:
    written = asked.num_tokens(replies)
    usage = {
        "prompt_tokens": asked.prompt_tokens,
        "completion_tokens": written,
        "total_tokens": asked.prompt_tokens + written,
    }
    about = {"id": name, "object": kind, "created": int(time.time()), "model": asked.model}
    return {**about, "choices": choices, "usage": usage}


def _write_message(asked: Asked, replies: Sequence[Reply], name: str) -> dict[str, Any]:
    reasons = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}
    return {
        "id": f"msg_{name}",
        "type": "message",
        "role": "assistant",
        "model": asked.model,
        "content": [{"type": "text", "text": text} for text, _ in replies],
        "stop_reason": reasons[replies[0][1]] if replies else "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": asked.prompt_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": asked.num_tokens(replies),
        },
    }


def _openai_error(status: int, message: str) -> dict[str, Any]:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    codes = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}
    return {"error": {"message": message, "type": kind, "param": None, "code": codes.get(status)}}


def _anthropic_error(status: int, message: str) -> dict[str, Any]:
    kinds = {
        400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error",
        429: "rate_limit_error", 500: "api_error", 503: "overloaded_error",
    }  # fmt: skip
    return {"type": "error", "error": {"type": kinds[status], "message": message}}


DIALECTS = {
    "/v1/completions": Dialect(_read_completion, _write_completion, _openai_error),
    "/v1/chat/completions": Dialect(_read_chat, _write_chat, _openai_error),
    "/v1/messages": Dialect(_read_message, _write_message, _anthropic_error, "x-api-key", ""),
}


# The wire.


def _json(status: int, content: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> web.Response:
    body = json.dumps(content).encode()
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")


async def _begun(request: web.Request, num_bytes: int) -> web.StreamResponse:
    """An answer of so many bytes, none of them sent."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.content_length = num_bytes
    await response.prepare(request)
    return response


async def _truncated(request: web.Request, payload: bytes) -> web.StreamResponse:
    """Half of the payload under the length of the whole, and the end of the connection."""
    response = await _begun(request, len(payload))
    response.force_close()
    await response.write(payload[: len(payload) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


def _dropped(request: web.Request, *, resets: bool) -> web.Response:
    """No answer: the connection is reset, or closed."""
    transport = request.transport
    if transport is not None:
        if resets:
            linger = struct.pack("ii", 1, 0)
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
    return web.Response()


# The script.


def main() -> None:
    """Serve until SIGTERM or SIGINT; SIGUSR1 restarts."""
    options = _parser().parse_args()
    faults = Faults(
        share=options.fault_share,
        seed=options.fault_seed,
        kinds=tuple(options.fault_kinds.split(",")),
        retry_after_s=options.retry_after,
        slow_s=options.slow,
        filter_share=options.filter_share,
    )
    server = TeacherServer(
        AdditionMind(options.noise),
        vendor=Vendor(max_n=options.max_n, api_key=options.api_key),
        faults=faults,
        delay_s=options.delay,
        book=options.book,
        port=options.port,
    )
    asyncio.run(_serve_until_signalled(server, options.port_file))


async def _serve_until_signalled(server: TeacherServer, port_file: Path | None) -> None:
    def tell() -> None:
        if port_file is not None:
            new = port_file.with_name(port_file.name + ".new")
            new.write_text(str(server.port))
            os.replace(new, port_file)

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, server.stop)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, server.restart_soon)
    await server.serve(tell)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="A teacher whose mind is known, behind HTTP.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--port-file", type=Path, help="where the port is written once it is listened on")
    parser.add_argument("--book", type=Path, help="JSON lines of what was served are appended here")
    parser.add_argument("--noise", type=float, default=AdditionMind.noise)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--max-n", type=int)
    parser.add_argument("--api-key")
    parser.add_argument("--fault-share", type=float, default=Faults.share)
    parser.add_argument("--fault-seed", type=int, default=Faults.seed)
    parser.add_argument("--fault-kinds", default=",".join(KINDS), help="separated by commas")
    parser.add_argument("--filter-share", type=float, default=Faults.filter_share)
    parser.add_argument("--retry-after", type=float, default=Faults.retry_after_s, help="seconds")
    parser.add_argument("--slow", type=float, default=Faults.slow_s, help="seconds of a timeout or a drip")
    return parser


if __name__ == "__main__":
    main()
