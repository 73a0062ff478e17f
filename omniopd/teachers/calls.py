"""One call to an API through litellm, which only this module imports: the answer, or the error."""

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
from omniopd.teachers.answers import UNREADABLE, Answer, Reserved, UnreadableError, read_answer, unread_usage
from omniopd.teachers.cache import Usage
from omniopd.teachers.prices import Prices
from omniopd.teachers.ways import Payload
from omniopd.teachers.wire import Guarded, RawResponse, RedirectError, last_response

# The price table from the package, not from the network.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
os.environ.setdefault("LITELLM_LOG", "ERROR")

import litellm
from litellm import exceptions as failures
from litellm.llms.custom_httpx import async_client_cleanup
from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler
from litellm.llms.openai.common_utils import BaseOpenAILLM
from openai import AsyncOpenAI

litellm.suppress_debug_info = True
# About malformed answers, which are checked here.
warnings.filterwarnings("ignore", "Pydantic serializer warnings", UserWarning)
logging.getLogger("LiteLLM").setLevel(logging.ERROR)

# A retry may help. litellm raises InternalServerError or APIError for an answer that it cannot read.
TRANSIENT = (
    failures.ServiceUnavailableError,
    failures.BadGatewayError,
    failures.InternalServerError,
    failures.APIConnectionError,
    failures.APIResponseValidationError,
    failures.APIError,
)
# Every call to this teacher will fail.
FATAL = (
    failures.AuthenticationError,
    failures.PermissionDeniedError,
    failures.PaymentRequiredError,
    failures.NotFoundError,
)
OPENAI_TEXT = "text-completion-openai/"
FATAL_STATUS = (401, 402, 403, 404)
OPENAI_PATH = "/completions"  # the end of the paths whose answers have OpenAI's form
MAX_PAUSE_S = 60.0  # before a retry, whatever the server requests
# Characters of a server's message: redacted, and kept.
MAX_READ_LEN, MAX_MESSAGE_LEN = 4000, 300

_make_transport = AsyncHTTPHandler.create_async_transport


def _guarded_transport(*args: Any, **kwargs: Any) -> Guarded:
    return Guarded(_make_transport(*args, **kwargs) or httpx.AsyncHTTPTransport())


# The transport of all asynchronous clients of litellm, and of those that it makes for OpenAI.
AsyncHTTPHandler.create_async_transport = staticmethod(_guarded_transport)  # pyright: ignore[reportAttributeAccessIssue]


class CallError(Exception):
    """A call without usable replies. `reason` is a word, for tables; the message says more, with keys redacted.

    passes: a retry may help. fatal: every other call will fail too. usage: what the call is billed nevertheless.
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
        super().__init__(" ".join(redacted(message[:MAX_READ_LEN]).split())[:MAX_MESSAGE_LEN])
        self.reason = reason
        self.passes = passes
        self.fatal = fatal
        self.retry_after_s = retry_after_s
        self.usage = usage


@dataclass(frozen=True)
class Endpoint:
    """litellm's name of the model, with its address and key where they are not the vendor's defaults.

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
    payload: Payload,
    *,
    num_replies: int,
    max_tokens: int,
    temperature: float | None,
    seed: int | None,
    timeout_s: float,
    reserved: Reserved,
) -> Answer:
    """Ask once. A temperature or a seed of None is not sent. `reserved` limits the usage that is booked.

    Raises:
        CallError: there was no answer, or it cannot be read.
    """
    settings = {
        **payload.settings,
        "max_tokens": max_tokens + payload.extra_tokens,
        "timeout": timeout_s,
        "max_retries": 0,
        "num_retries": 0,
        "api_base": endpoint.base_url,
        "api_key": endpoint.api_key,
    }
    optional = {"n": num_replies if num_replies > 1 else None, "temperature": temperature, "seed": seed}
    settings |= {name: value for name, value in optional.items() if value is not None}
    response = RawResponse()
    last_response.set(response)
    # Raised outside of the handler of litellm's error: a traceback would show that too, with its keys.
    outcome = await _outcome(endpoint, payload, merged(endpoint.request, settings), timeout_s)
    answer = _read(response, outcome, reserved, endpoint.prices)
    if isinstance(answer, CallError):
        raise answer
    return answer


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both settings, merged recursively; `above` takes precedence.

    >>> merged({"extra_body": {"top_k": 20}}, {"extra_body": {"add_generation_prompt": False}})
    {'extra_body': {'top_k': 20, 'add_generation_prompt': False}}
    """
    both = {**below, **above}
    for name in below.keys() & above.keys():
        if isinstance(below[name], Mapping) and isinstance(above[name], Mapping):
            both[name] = merged(below[name], above[name])
    return both


async def _outcome(endpoint: Endpoint, payload: Payload, settings: dict[str, Any], timeout_s: float) -> Any:
    """The answer as litellm returns it, or the error that it raised."""
    model = endpoint.model
    try:
        # With a server that drips, a client's own timeout never expires.
        async with asyncio.timeout(timeout_s):
            if payload.text is None:
                return await litellm.acompletion(model=model, messages=list(payload.messages), **settings)
            provider, _, name = model.partition("/")
            if provider in ("openai", "hosted_vllm"):  # else litellm would send a chat
                model = f"{OPENAI_TEXT}{name}"
            if model.startswith(OPENAI_TEXT):
                settings["client"] = _client(endpoint.base_url, endpoint.api_key)
            return await litellm.atext_completion(model=model, prompt=payload.text, **settings)
    except TimeoutError:
        return CallError("timeout", f"no answer within {timeout_s:g} s", passes=True)
    except Exception as error:
        return error


def _read(response: RawResponse, outcome: Any, reserved: Reserved, prices: Prices) -> Answer | CallError:
    """The answer, from the body where that has OpenAI's form: litellm turns malformed ones into empty replies."""
    if isinstance(outcome, CallError):
        return outcome
    if isinstance(response.refused, RedirectError):
        return CallError("redirect", str(response.refused), passes=False, fatal=True)
    if response.refused is not None:
        usage = reserved.usage(prices) if response.is_success else None
        return CallError("too_large", str(response.refused), passes=False, usage=usage)
    if not response.is_success and isinstance(outcome, Exception):
        return _explained(outcome, response.status)
    try:
        if response.path.endswith(OPENAI_PATH):
            return read_answer(_parsed(response.body), reserved, prices)
        if isinstance(outcome, Exception):
            usage = unread_usage(_parsed(response.body), reserved, prices)
            return _unreadable(f"{type(outcome).__name__}: {outcome}", usage)
        return read_answer(outcome.model_dump(), reserved, prices)
    except UnreadableError as error:
        return _unreadable(str(error), error.usage)


def _parsed(body: bytes) -> Any:
    """The body as JSON; None where it is not."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _unreadable(message: str, usage: Usage | None) -> CallError:
    return CallError(UNREADABLE, message, passes=True, usage=usage)


async def close_connections() -> None:
    """Close the connections that are kept for the next calls."""
    await async_client_cleanup.close_litellm_async_clients()
    while _clients:
        await _clients.popitem()[1].close()


_clients: dict[tuple[str | None, str | None], AsyncOpenAI] = {}


def _client(base_url: str | None, api_key: str | None) -> AsyncOpenAI:
    """One client for all completions of an address: litellm would open one for each call."""
    if (base_url, api_key) not in _clients:
        _clients[base_url, api_key] = AsyncOpenAI(
            base_url=base_url,
            api_key=api_key,
            max_retries=0,
            http_client=BaseOpenAILLM.get_async_http_client(),
        )
    return _clients[base_url, api_key]


def _explained(error: Exception, status: int) -> CallError:
    """litellm's error as ours. status is that of the answer, 0 where there was none."""
    message = str(error)
    if isinstance(error, FATAL) or (status or _status(error)) in FATAL_STATUS:
        return CallError(type(error).__name__, message, passes=False, fatal=True)
    if isinstance(error, failures.ContentPolicyViolationError):
        return CallError("content_filter", message, passes=False)
    if isinstance(error, failures.Timeout):
        return CallError("timeout", message, passes=True)
    if isinstance(error, failures.RateLimitError):
        return CallError("rate_limit", message, passes=True, retry_after_s=_retry_after(error))
    if isinstance(error, TRANSIENT):
        return CallError(type(error).__name__, message, passes=True, retry_after_s=_retry_after(error))
    if isinstance(error, failures.BadRequestError):
        return CallError("refused", message, passes=False)
    return _unreadable(f"{type(error).__name__}: {message}", None)


def _status(error: BaseException | None) -> int | None:
    """The HTTP status at the root of an error: litellm gives some the wrong class."""
    status, origin = None, error
    while origin is not None:
        status = getattr(origin, "status_code", status)
        origin = origin.__cause__ or origin.__context__
    return status


def _retry_after(error: Exception) -> float | None:
    """The pause that the server requested, if any."""
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
    """The seconds of a Retry-After header, at most MAX_PAUSE_S; None where it cannot be read.

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
    return None if math.isnan(seconds) else min(max(0.0, seconds), MAX_PAUSE_S)
