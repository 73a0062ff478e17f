"""The HTTP below every way of asking: an answer has a size limit, and a key follows no redirect to another server."""

import zlib
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

MOST_BYTES = 16 * 2**20  # of an answer's body, decompressed
CODINGS = "gzip, deflate"
HEADERS_OF_CODING = ("content-encoding", "content-length", "transfer-encoding")


class TooLargeError(Exception):
    """An answer is longer than MOST_BYTES, or is compressed in a way that was not asked for."""


class RedirectError(Exception):
    """An answer points to another server."""


@dataclass
class Heard:
    """The last answer to a call: its path, HTTP status and body, or why the body was not read.

    >>> Heard("/v1/completions", 200, b"{}").is_success
    True
    """

    path: str = ""
    status: int = 0
    body: bytes = b""
    refused: TooLargeError | RedirectError | None = None

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


heard: ContextVar[Heard | None] = ContextVar("heard", default=None)


class Guarded(httpx.AsyncBaseTransport):
    """A transport whose answers are read here, whole, and noted in `heard`.

    Raises:
        TooLargeError, RedirectError: see there.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport):
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.headers["accept-encoding"] = CODINGS
        note = heard.get() or Heard()
        response = await self._transport.handle_async_request(request)
        note.path, note.status, note.body, note.refused = request.url.path, response.status_code, b"", None
        try:
            _refuse_redirect(request.url, response)
            note.body = await _body(response)
        except (TooLargeError, RedirectError) as error:
            note.refused = error
            raise
        finally:
            await response.aclose()
        headers = [(k, v) for k, v in response.headers.multi_items() if k.lower() not in HEADERS_OF_CODING]
        return httpx.Response(response.status_code, headers=headers, content=note.body, request=request)

    async def aclose(self) -> None:
        await self._transport.aclose()


def _refuse_redirect(asked: httpx.URL, response: httpx.Response) -> None:
    if not (300 <= response.status_code < 400 and "location" in response.headers):
        return
    try:
        given = httpx.URL(response.headers["location"])
        target = asked.join(given)
        # Where the host alone is missing, httpx takes the one that was asked, but not its port.
        is_whole = bool(given.host) or not given.scheme
        is_same = is_whole and _origin(target) == _origin(asked)
    except httpx.InvalidURL:
        is_same = False
    if not is_same:
        place = _host(response.headers["location"]) or "another address"
        raise RedirectError(
            f"{asked.host} redirects to another server ({place[:100]}), and a key is sent to no other; if that server "
            "is the teacher's, write its address into teacher.base_url"
        )


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _host(location: str) -> str | None:
    try:
        return urlsplit(location).hostname
    except ValueError:
        return None


async def _body(response: httpx.Response) -> bytes:
    """The body, decompressed no further than the limit."""
    decode = _decoder(response.headers.get("content-encoding", "identity").strip().lower())
    body = bytearray()
    async for raw in response.aiter_raw():
        body += decode(raw, MOST_BYTES + 1 - len(body))
        if len(body) > MOST_BYTES:
            raise TooLargeError(f"the answer is longer than {MOST_BYTES / 2**20:g} MiB")
    return bytes(body)


def _decoder(coding: str) -> Callable[[bytes, int], bytes]:
    """Decompresses the next bytes of a body, to so many at most."""
    match coding:
        case "identity" | "":
            return lambda raw, most: raw[:most]
        case "gzip" | "x-gzip":
            return _inflate(zlib.decompressobj(zlib.MAX_WBITS | 16))
        case "deflate":
            return _inflate(zlib.decompressobj())
    raise TooLargeError(f"the answer is compressed as {coding[:40]!r}, and {CODINGS} were asked for")


def _inflate(stream: "zlib._Decompress") -> Callable[[bytes, int], bytes]:
    def decode(raw: bytes, most: int) -> bytes:
        try:
            return stream.decompress(raw, most)
        except zlib.error as error:
            raise httpx.DecodingError(str(error)) from error

    return decode
