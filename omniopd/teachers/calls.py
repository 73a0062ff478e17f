"""One call to an API through litellm, which alone is imported here: what was answered, or what went wrong."""

import asyncio
import json
import logging
import math
import os
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from omniopd.redaction import protect, protect_environment, redacted
from omniopd.teachers.answers import (
    UNREADABLE,
    Answer,
    Reserved,
    UnreadableError,
    read_answer,
    unread_usage,
)
from omniopd.teachers.cache import Usage
from omniopd.teachers.prices import Prices
from omniopd.teachers.ways import Put
from omniopd.teachers.wire import Guarded, Heard, RedirectError, heard

os.environ.setdefault(
    "LITELLM_LOCAL_MODEL_COST_MAP", "True"
)  # its price table from the package, not the network
os.environ.setdefault("LITELLM_LOG", "ERROR")

import litellm
from litellm import exceptions as failures
from litellm.llms.custom_httpx import async_client_cleanup
from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler
from litellm.llms.openai.common_utils import BaseOpenAILLM
from openai import AsyncOpenAI

litellm.suppress_debug_info = True
# Of answers that a server got wrong; they are read here, and checked.
warnings.filterwarnings("ignore", "Pydantic serializer warnings", UserWarning)
logging.getLogger("LiteLLM").setLevel(logging.ERROR)

# Asking again may help. litellm makes an InternalServerError or an APIError of an answer that it cannot read.
PASSING = (
    failures.RateLimitError,
    failures.Timeout,
    failures.ServiceUnavailableError,
    failures.BadGatewayError,
    failures.InternalServerError,
    failures.APIConnectionError,
    failures.APIResponseValidationError,
    failures.APIError,
)
# Nothing that is asked of this teacher will be answered.
FATAL = (
    failures.AuthenticationError,
    failures.PermissionDeniedError,
    failures.PaymentRequiredError,
    failures.NotFoundError,
)
OPENAI_TEXT = "text-completion-openai/"
FATAL_STATUS = (401, 402, 403, 404)
OPENAI_PATH = "/completions"  # the end of those that are asked and answer as OpenAI's do
LONGEST_PAUSE_S = 60.0  # before asking again, whatever the server asks for
LONGEST_READ, LONGEST_MESSAGE = (
    4000,
    300,
)  # characters of a server's message: where keys are looked for, and kept

_make_transport = AsyncHTTPHandler.create_async_transport


def _guarded_transport(*args: Any, **kwargs: Any) -> Guarded:
    return Guarded(_make_transport(*args, **kwargs) or httpx.AsyncHTTPTransport())


# All of litellm's asynchronous clients, and those that it makes for OpenAI's, get their transport here.
AsyncHTTPHandler.create_async_transport = staticmethod(_guarded_transport)  # pyright: ignore[reportAttributeAccessIssue]


class CallError(Exception):
    """A call that brought nothing. `reason` is short, for a table of reasons; the message says more, and holds no key.

    passes: asking again may help. fatal: no other request will be answered either. usage: what the call is booked at
    although its replies cannot be kept.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        passes: bool,
        fatal: bool = False,
        retry_after_s: float | None = None,
        usage: Usage | None = None,
    ):
        super().__init__(" ".join(redacted(message[:LONGEST_READ]).split())[:LONGEST_MESSAGE])
        self.reason = reason
        self.passes = passes
        self.fatal = fatal
        self.retry_after_s = retry_after_s
        self.usage = usage


@dataclass(frozen=True)
class Endpoint:
    """Where a teacher is asked: litellm's name of the model, its address and key where they are not the vendor's own.

    >>> Endpoint("anthropic/claude-haiku-4-5").base_url is None
    True
    """

    model: str
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    request: Mapping[str, Any] = field(default_factory=dict)  # sent with every call
    prices: Prices = field(default_factory=Prices)

    def __post_init__(self) -> None:
        protect(self.api_key)
        protect_environment()  # the vendors' usual variables, where the key is left to litellm


async def call(
    endpoint: Endpoint,
    asked: Put,
    *,
    num_replies: int,
    max_tokens: int,
    temperature: float | None,
    seed: int | None,
    timeout_s: float,
    reserved: Reserved,
) -> Answer:
    """Ask once. A temperature or a seed of None is not sent. `reserved` is the most that it is booked at.

    Raises:
        CallError: there was no answer, or none that can be read.
    """
    settings = {
        **asked.settings,
        "max_tokens": max_tokens + asked.extra_tokens,
        "timeout": timeout_s,
        "max_retries": 0,
        "num_retries": 0,
        "api_base": endpoint.base_url,
        "api_key": endpoint.api_key,
    }
    if num_replies > 1:
        settings["n"] = num_replies
    if temperature is not None:
        settings["temperature"] = temperature
    if seed is not None:
        settings["seed"] = seed
    note = Heard()
    heard.set(note)
    # Raised where the error that it explains is no longer being handled: a traceback shows that one too, with its keys.
    outcome = await _outcome(endpoint, asked, merged(endpoint.request, settings), timeout_s)
    answer = _read(note, outcome, reserved, endpoint.prices)
    if isinstance(answer, CallError):
        raise answer
    return answer


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both settings, mappings in both merged in the same way; else the value of `above` holds.

    >>> merged({"extra_body": {"top_k": 20}}, {"extra_body": {"add_generation_prompt": False}})
    {'extra_body': {'top_k': 20, 'add_generation_prompt': False}}
    """
    both = {**below, **above}
    for name in below.keys() & above.keys():
        if isinstance(below[name], Mapping) and isinstance(above[name], Mapping):
            both[name] = merged(below[name], above[name])
    return both


async def _outcome(endpoint: Endpoint, asked: Put, settings: dict[str, Any], timeout_s: float) -> Any:
    """What litellm made of the answer, or the error that it raised."""
    try:
        # A server that drips keeps a client's own timeout from ever passing.
        async with asyncio.timeout(timeout_s):
            if asked.text is None:
                return await litellm.acompletion(
                    model=endpoint.model, messages=list(asked.messages), **settings
                )
            model = _completing(endpoint.model)
            if model.startswith(OPENAI_TEXT):
                settings["client"] = _client(endpoint.base_url, endpoint.api_key)
            return await litellm.atext_completion(model=model, prompt=asked.text, **settings)
    except TimeoutError:
        return CallError("timeout", f"no answer within {timeout_s:g} s", passes=True)
    except Exception as error:
        return error


def _read(note: Heard, outcome: Any, reserved: Reserved, prices: Prices) -> Answer | CallError:
    """The answer, from what the server sent where that has OpenAI's shape: litellm makes empty replies of the rest."""
    if isinstance(outcome, CallError):
        return outcome
    if note.refused is not None:
        return _refused(note, reserved, prices)
    if not note.is_success and isinstance(outcome, Exception):
        return _explained(outcome, note.status)
    try:
        if note.path.endswith(OPENAI_PATH):
            return read_answer(_parsed(note.body), reserved, prices)
        if isinstance(outcome, Exception):
            usage = unread_usage(_parsed(note.body), reserved, prices)
            return _unreadable(f"{type(outcome).__name__}: {outcome}", usage)
        return read_answer(outcome.model_dump(), reserved, prices)
    except UnreadableError as error:
        return _unreadable(str(error), error.usage)


def _parsed(body: bytes) -> Any:
    """The JSON of a body, None where it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _unreadable(message: str, usage: Usage | None) -> CallError:
    return CallError(UNREADABLE, message, passes=True, usage=usage)


def _refused(note: Heard, reserved: Reserved, prices: Prices) -> CallError:
    """What to make of an answer whose body was not read."""
    if isinstance(note.refused, RedirectError):
        return CallError("redirect", str(note.refused), passes=False, fatal=True)
    usage = reserved.usage(prices) if note.is_success else None
    return CallError("too_large", str(note.refused), passes=False, usage=usage)


def absent_keys(model: str) -> list[str]:
    """The environment variables of the vendor's key that are not set, as far as litellm knows the vendor."""
    return list(litellm.validate_environment(model)["missing_keys"])


async def close_connections() -> None:
    """Close what is kept open to ask again sooner."""
    await async_client_cleanup.close_litellm_async_clients()
    while _clients:
        await _clients.popitem()[1].close()


_clients: dict[tuple[str | None, str | None], AsyncOpenAI] = {}


def _client(base_url: str | None, api_key: str | None) -> AsyncOpenAI:
    """One client for all completions of an address: litellm would open one, and a connection, for each call."""
    if (base_url, api_key) not in _clients:
        _clients[base_url, api_key] = AsyncOpenAI(
            base_url=base_url,
            api_key=api_key,
            max_retries=0,
            http_client=BaseOpenAILLM.get_async_http_client(),
        )
    return _clients[base_url, api_key]


def _completing(model: str) -> str:
    """The name under which litellm completes a text with that model, rather than chat about it."""
    provider, _, name = model.partition("/")
    return f"{OPENAI_TEXT}{name}" if provider in ("openai", "hosted_vllm") else model


def _explained(error: Exception, status: int) -> CallError:
    """An error of litellm's as ours; status is that of the answer, 0 where there was none."""
    message = str(error)
    if isinstance(error, FATAL) or (status or _status(error)) in FATAL_STATUS:
        return CallError(type(error).__name__, message, passes=False, fatal=True)
    if isinstance(error, failures.ContentPolicyViolationError):
        return CallError("content_filter", message, passes=False)
    if isinstance(error, failures.Timeout):
        return CallError("timeout", message, passes=True)
    if isinstance(error, failures.RateLimitError):
        return CallError("rate_limit", message, passes=True, retry_after_s=_retry_after(error))
    if isinstance(error, PASSING):
        return CallError(type(error).__name__, message, passes=True, retry_after_s=_retry_after(error))
    if isinstance(error, failures.BadRequestError):
        return CallError("refused", message, passes=False)
    return _unreadable(f"{type(error).__name__}: {message}", None)


def _status(error: BaseException) -> int | None:
    """The HTTP status that an error came from: litellm calls some by the wrong name."""
    origin: BaseException | None = error
    found = None
    while origin is not None:
        found = getattr(origin, "status_code", found)
        origin = origin.__cause__ or origin.__context__
    return found


def _retry_after(error: Exception) -> float | None:
    """Seconds that the server asked to be given, where it did."""
    for headers in (
        getattr(error, "litellm_response_headers", None),
        getattr(getattr(error, "response", None), "headers", None),
    ):
        try:
            return pause_s(headers["retry-after"])  # pyright: ignore[reportOptionalSubscript]
        except (TypeError, KeyError):
            continue
    return None


def pause_s(retry_after: str) -> float | None:
    """The seconds that a Retry-After asks for, at most LONGEST_PAUSE_S; None where it asks for none.

    >>> pause_s("1.5"), pause_s("inf"), pause_s("nan"), pause_s("-3")
    (1.5, 60.0, None, 0.0)
    """
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(retry_after).timestamp() - time.time()
        except (ValueError, OverflowError, OSError):
            return None
    return None if math.isnan(seconds) else min(max(0.0, seconds), LONGEST_PAUSE_S)
