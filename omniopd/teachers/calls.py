"""One call to an API through litellm, which alone is imported here: what was answered, or what went wrong."""

import asyncio
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from omniopd.teachers.cache import Usage
from omniopd.teachers.prices import Prices
from omniopd.teachers.ways import Put

os.environ.setdefault(
    "LITELLM_LOCAL_MODEL_COST_MAP", "True"
)  # its price table from the package, not the network
os.environ.setdefault("LITELLM_LOG", "ERROR")

import litellm
from litellm import exceptions as failures
from litellm.llms.custom_httpx import async_client_cleanup
from litellm.llms.openai.common_utils import BaseOpenAILLM
from openai import AsyncOpenAI

litellm.suppress_debug_info = True
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


@dataclass(frozen=True)
class Answer:
    """What a call brought: (text, finish reason) of each reply, and what it was billed for.

    >>> Answer((("=0", "length"), ("=1", "length")), Usage(15, 0, 4, 0.0)).replies[1]
    ('=1', 'length')
    """

    replies: tuple[tuple[str, str], ...]
    usage: Usage


class CallError(Exception):
    """A call that brought nothing. `reason` is short, for a table of reasons; the message says more.

    passes: asking again may help. fatal: no other request will be answered either.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        passes: bool,
        fatal: bool = False,
        retry_after_s: float | None = None,
    ):
        super().__init__(message)
        self.reason = reason
        self.passes = passes
        self.fatal = fatal
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class Endpoint:
    """Where a teacher is asked: litellm's name of the model, its address and key where they are not the vendor's own.

    >>> Endpoint("anthropic/claude-haiku-4-5").base_url is None
    True
    """

    model: str
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    request: Mapping[str, Any] = field(default_factory=dict)  # sent with every call as it is
    prices: Prices = field(default_factory=Prices)


async def call(
    endpoint: Endpoint,
    asked: Put,
    *,
    num_replies: int,
    max_tokens: int,
    temperature: float | None,
    seed: int | None,
    timeout_s: float,
) -> Answer:
    """Ask once. A temperature or a seed of None is not sent.

    Raises:
        CallError: there was no answer, or none that can be read.
    """
    settings: dict[str, Any] = {
        "max_tokens": max_tokens + asked.extra_tokens,
        "timeout": timeout_s,
        "max_retries": 0,
        "num_retries": 0,
        "api_base": endpoint.base_url,
        "api_key": endpoint.api_key,
        **asked.settings,
        **endpoint.request,
    }
    if num_replies > 1:
        settings["n"] = num_replies
    if temperature is not None:
        settings["temperature"] = temperature
    if seed is not None:
        settings["seed"] = seed
    try:
        # A server that drips keeps a client's own timeout from ever passing.
        async with asyncio.timeout(timeout_s):
            if asked.text is not None:
                model = _completing(endpoint.model)
                if model.startswith(OPENAI_TEXT):
                    settings["client"] = _client(endpoint.base_url, endpoint.api_key)
                answer = await litellm.atext_completion(model=model, prompt=asked.text, **settings)
            else:
                answer = await litellm.acompletion(
                    model=endpoint.model, messages=list(asked.messages), **settings
                )
    except TimeoutError as error:
        raise CallError("timeout", f"no answer within {timeout_s:g} s", passes=True) from error
    except Exception as error:
        raise _explained(error) from error
    return _answer(endpoint, answer)


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


def _answer(endpoint: Endpoint, answer: Any) -> Answer:
    usage = getattr(answer, "usage", None)
    if usage is None:
        raise CallError("unreadable", "an answer without its usage", passes=True)
    details = getattr(usage, "prompt_tokens_details", None)
    tokens = {
        "prompt_tokens": usage.prompt_tokens or 0,
        "cached_tokens": getattr(details, "cached_tokens", None) or 0,
        "completion_tokens": usage.completion_tokens or 0,
    }
    written = getattr(details, "cache_creation_tokens", None) or 0
    billed = Usage(**tokens, cost_usd=endpoint.prices.cost(**tokens, written_tokens=written))
    return Answer(tuple(_reply(choice) for choice in answer.choices), billed)


def _reply(choice: Any) -> tuple[str, str]:
    message = getattr(choice, "message", None)
    text = message.content if message is not None else choice.text
    return text or "", choice.finish_reason or "stop"


def _explained(error: Exception) -> CallError:
    message = " ".join(str(error).split())[:300]
    if isinstance(error, FATAL) or _status(error) in FATAL_STATUS:
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
    return CallError("unreadable", f"{type(error).__name__}: {message}", passes=True)


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
            return max(0.0, float(headers["retry-after"]))  # pyright: ignore[reportOptionalSubscript]
        except (TypeError, KeyError, ValueError):
            continue
    return None
