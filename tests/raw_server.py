"""A server on loopback that sends what a test says, byte for byte."""

import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from loopback import HOST, Addressed

PROMPT_TOKENS, COMPLETION_TOKENS = 60, 4


@dataclass(frozen=True)
class Sent:
    """An answer: its status, its body, which is made JSON where it is no bytes, and further headers."""

    body: Any = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def payload(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass
class RawServer(Addressed):
    """Where it is asked, and the requests so far: path, headers in lower case, and body."""

    port: int
    requests: list[tuple[str, dict[str, str], bytes]]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print an error, unless the client has closed the connection, which it may do at any time."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def sending(answer: Callable[[int, dict[str, str], Any], Sent]) -> Iterator[RawServer]:
    """The server; `answer` is given the number of the request, from 0, its headers and its JSON."""
    requests: list[tuple[str, dict[str, str], bytes]] = []
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            with lock:
                number = len(requests)
                requests.append((self.path, headers, body))
            sent = answer(number, headers, json.loads(body or b"null"))
            self.send_response(sent.status)
            for name, value in {"Content-Type": "application/json", **sent.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(sent.payload)))
            self.end_headers()
            self.wfile.write(sent.payload)

        do_GET = do_POST

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = _Server((HOST, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield RawServer(server.server_address[1], requests)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def answer_of(
    way: str, *texts: Any, reason: Any = "length", usage: Any = None, **message: Any
) -> dict[str, Any]:
    """A well-formed answer of OpenAI's endpoints in that way, with these texts."""
    choices = [
        {"index": i, "finish_reason": reason}
        | (
            {"text": text}
            if way == "completion"
            else {"message": {"role": "assistant", "content": text, **message}}
        )
        for i, text in enumerate(texts)
    ]
    counted = {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": COMPLETION_TOKENS,
        "total_tokens": PROMPT_TOKENS + COMPLETION_TOKENS,
    }
    about = {"id": "x", "object": "text_completion", "created": 1, "model": "demo"}
    return {**about, "choices": choices, "usage": counted if usage is None else usage}
