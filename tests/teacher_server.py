"""A teacher whose mind is known, behind HTTP as OpenAI and Anthropic speak it, with faults on a schedule.

In a test: `with running(TeacherServer(faults=Faults(share=0.2))) as server: ask(server.url)`. As a process of its
own: `python tests/teacher_server.py --port 0 --port-file port.txt --book served.jsonl`, which ends on SIGTERM.
"""

import argparse
import asyncio
import json
import os
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from aiohttp import web
from loopback import HOST, Addressed
from teacher_dialects import DIALECTS, Asked, Dialect, Refused, Vendor, body_hash, parsed
from teacher_mind import KINDS, STATUSES, UNANSWERED, AdditionMind, Faults, Mind, Reply

NUM_DRIPS = 10
SHUTDOWN_S = 1.0


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
            content = parsed(sent)
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
