"""The HTTP transport of all calls: it limits the size of answers, and sends a key to no other server on a redirect."""

import zlib
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

MAX_BYTES = 16 * 2**20  # of a decompressed body
CODINGS = "gzip, deflate"
HEADERS_OF_CODING = ("content-encoding", "content-length", "transfer-encoding")


class TooLargeError(Exception):
    """An answer is longer than MAX_BYTES, or compressed in an unrequested way."""


class RedirectError(Exception):
    """An answer redirects to another server."""


@dataclass
class RawResponse:
    """The last answer to a call: its path, HTTP status and body, or why the body was not read.

    >>> RawResponse("/v1/completions", 200, b"{}").is_success
    True
    """

    path: str = ""
    status: int = 0
    body: bytes = b""
    refused: TooLargeError | RedirectError | None = None

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


last_response: ContextVar[RawResponse | None] = ContextVar("last_response", default=None)


class Guarded(httpx.AsyncBaseTransport):
    """A transport that reads each answer whole, and copies it into `last_response`.

    Raises:
        TooLargeError, RedirectError: see there.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport):
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.headers["accept-encoding"] = CODINGS
        raw = last_response.get() or RawResponse()
        response = await self._transport.handle_async_request(request)
        raw.path, raw.status, raw.body, raw.refused = request.url.path, response.status_code, b"", None
        try:
            _refuse_redirect(request.url, response)
            raw.body = await _body(response)
        except (TooLargeError, RedirectError) as error:
            raw.refused = error
            raise
        finally:
            await response.aclose()
        headers = [(k, v) for k, v in response.headers.multi_items() if k.lower() not in HEADERS_OF_CODING]
        return httpx.Response(response.status_code, headers=headers, content=raw.body, request=request)

    async def aclose(self) -> None:
        await self._transport.aclose()


def _refuse_redirect(asked: httpx.URL, response: httpx.Response) -> None:
    if not (300 <= response.status_code < 400 and "location" in response.headers):
        return
    try:
        given = httpx.URL(response.headers["location"])
        target = asked.join(given)
        # Where only the host is missing, httpx fills in that of the request, but not its port.
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
    """The body, decompressed up to the limit."""
    decode = _decoder(response.headers.get("content-encoding", "identity").strip().lower())
    body = bytearray()
    async for raw in response.aiter_raw():
        body += decode(raw, MAX_BYTES + 1 - len(body))
        if len(body) > MAX_BYTES:
            raise TooLargeError(f"the answer is longer than {MAX_BYTES / 2**20:g} MiB")
    return bytes(body)


def _decoder(coding: str) -> Callable[[bytes, int], bytes]:
    """A function from the next bytes of a body and a limit to decompressed bytes, at most that many."""
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
