"""`teacher`: who answers, how requests are sent, and what they may cost."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from omniopd.config.schema.evaluation import Template, Text
from omniopd.config.schema.models import DEMO
from omniopd.data.conversation import Role
from omniopd.settings import Key, Section

# Settings and headers that hold keys.
KEY_NAMES = ("api_key", "x_api_key", "authorization", "proxy_authorization", "cookie")
KEY_HEADER = re.compile(r"(key|token|secret|password)$")
MAPPINGS = ("extra_body", "extra_headers", "headers", "extra_query")
# Fields that every call sets, or that would change the meaning or cost of a reply; and what to set instead.
OWNED_BY_CALLS = {
    **dict.fromkeys(("model", "deployment_id", "model_list", "custom_llm_provider"), "teacher.model"),
    **dict.fromkeys(("api_base", "base_url"), "teacher.base_url"),
    **dict.fromkeys(("max_tokens", "max_completion_tokens"), "chunk_len, spare_tokens or rollout.max_new_tokens"),
    **dict.fromkeys(("timeout", "request_timeout", "stream_timeout"), "teacher.timeout_s"),
    **dict.fromkeys(("max_retries", "num_retries"), "teacher.max_attempts"),
    **dict.fromkeys(("n", "best_of"), "num_replies of the method"),
    **dict.fromkeys(("continue_final_message", "add_generation_prompt"), "teacher.way"),
    "temperature": "teacher.temperature",
    "use_beam_search": "teacher.temperature",
    **dict.fromkeys(
        ("messages", "prompt", "seed", "stream", "stream_options", "client", "echo", "suffix", "fallbacks",
         "context_window_fallback_dict", "mock_response", "mock_timeout", "caching", "cache"),
        None,
    ),
}  # fmt: skip


class TeacherPrices(Section):
    """US dollars per million tokens."""

    input: float = Field(ge=0, description="of prompts")
    cached_input: float | None = Field(default=None, ge=0, description="as input where it is not given")
    cache_write: float | None = Field(default=None, ge=0, description="as input where it is not given")
    output: float = Field(ge=0, description="of replies")


class ContextMessage(Section):
    """A message that only the teacher reads."""

    role: Role = Field(description="system, user or assistant")
    content: Text = Field(description="the text")


# The places of a hint: {prompt}, and columns of the source or paths into them.
HINT_PLACE = re.compile(r"\{(\w+(?:\.\w+)*)\}")


def hint_columns(hint: str) -> set[str]:
    """The columns of the source that a hint shows.

    >>> hint_columns("{prompt} Solution: {meta.solution}")
    {'meta.solution'}
    """
    return set(HINT_PLACE.findall(hint)) - {"prompt"}


class TeacherConfig(Section):
    kind: str = Field(
        default="transformers",
        description="transformers or vllm (local weights), api, or package.module:Class",
    )
    model: str = Field(
        default=DEMO,
        min_length=1,
        description="a directory, a hub name or demo; for an API litellm's name, such as anthropic/claude-haiku-4-5",
    )
    temperature: float = Field(default=1.0, ge=0, description="sampling temperature of replies")
    batch_size: int = Field(default=16, gt=0, description="prefixes that a local teacher reads at once")
    max_failed_share: Annotated[float, Key.NEVER] = Field(
        default=0.02,
        ge=0,
        le=1,
        description="share of a round's requests that may fail; beyond it the round stops, with the reasons",
    )
    tokenizer: Literal["auto", "student", "other"] = Field(
        default="auto",
        description="whose tokens the teacher has; auto: tokenizers are compared, an API's tokens counted by the probe",
    )
    way: Literal["auto", "prefill", "completion", "instruct"] = Field(
        default="auto",
        description="how a prefix is sent to an API; auto: the first way that a probe finds to work",
    )
    base_url: Annotated[str | None, Key.NEVER] = Field(
        default=None, description="address of your own server, such as http://127.0.0.1:8000/v1"
    )
    api_key_env: Annotated[str | None, Key.NEVER] = Field(
        default=None, description="environment variable that holds the API key; null: the vendor's usual name"
    )
    request: dict[str, Any] = Field(
        default={}, description="further fields of every request, such as { reasoning_effort: none }"
    )
    chat_template_kwargs: Annotated[dict[str, Any], Key.IF_CHANGED] = Field(
        default={},
        description="settings of the teacher's chat template; an API takes them if it is your own server (base_url)",
    )
    context: Annotated[list[ContextMessage], Key.IF_CHANGED] = Field(
        default=[],
        description="messages before each prompt that only the teacher reads, such as a system message or worked "
        "examples: [{ role: system, content: Be exact. }]",
    )
    hint: Annotated[Template | None, Key.IF_CHANGED] = Field(
        default=None,
        description="the prompt as only the teacher reads it: {prompt}, and columns of the source in braces, such as "
        "its reference solution",
    )
    engine: Annotated[dict[str, Any], Key.NEVER] = Field(
        default={}, description="engine arguments of kind vllm, such as { tensor_parallel_size: 2 }"
    )
    max_concurrency: Annotated[int, Key.NEVER] = Field(default=32, gt=0, description="concurrent requests")
    requests_per_minute: Annotated[float | None, Key.NEVER] = Field(
        default=None, gt=0, description="rate limit of all runs that share the cache; null: none"
    )
    tokens_per_minute: Annotated[float | None, Key.NEVER] = Field(
        default=None, gt=0, description="rate limit of all runs that share the cache; null: none"
    )
    timeout_s: Annotated[float, Key.NEVER] = Field(default=60.0, gt=0, description="timeout of one request")
    max_attempts: Annotated[int, Key.NEVER] = Field(default=6, gt=0, description="attempts per reply")
    budget_usd: Annotated[float | None, Key.NEVER] = Field(
        default=None,
        ge=0,
        description="budget of all runs that share the cache; when it is exhausted, the run stops and can resume",
    )
    budget_tokens: Annotated[int | None, Key.NEVER] = Field(
        default=None, ge=0, description="the same, in tokens of prompts and replies together"
    )
    prices: Annotated[TeacherPrices | None, Key.NEVER] = Field(
        default=None,
        description="dollars per million tokens, { input: 1.0, output: 5.0 }; null: litellm's table",
    )
    cache: Annotated[str, Key.NEVER] = Field(
        default="teacher.sqlite", min_length=1, description="SQLite file that keeps every reply"
    )
    offline: Annotated[bool, Key.NEVER] = Field(default=False, description="take replies from the cache only")

    @property
    def is_local(self) -> bool:
        """Whether its weights are loaded in this process."""
        return self.kind in ("transformers", "vllm")

    @field_validator("context")
    @classmethod
    def _system_first(cls, context: list[ContextMessage]) -> list[ContextMessage]:
        for i, message in enumerate(context[1:], 1):
            if message.role == "system":
                raise ValueError(f"message {i} is of role system; put it first")
        return context

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, kind: str) -> str:
        if not re.fullmatch(r"transformers|vllm|api|[\w.]+:\w+", kind):
            raise ValueError(
                f"{kind!r} is not a kind of teacher; write transformers, vllm, api, or package.module:Class"
            )
        return kind

    @field_validator("request")
    @classmethod
    def _only_additions(cls, request: dict[str, Any]) -> dict[str, Any]:
        """Only fields that a call does not set itself, no API key, and mappings where mappings belong."""
        for name in MAPPINGS:
            if not isinstance(request.get(name) or {}, dict):
                raise ValueError(
                    f"{name!r} is {type(request[name]).__name__}, and must be a mapping; write {{ … }}"
                )
        blocks = [request, *(request.get(name) or {} for name in MAPPINGS)]
        headers = {**(request.get("extra_headers") or {}), **(request.get("headers") or {})}
        for name in (str(name) for block in blocks for name in block):
            if _plain(name) in KEY_NAMES or (name in headers and KEY_HEADER.search(_plain(name))):
                raise ValueError(
                    f"{name!r} holds a key, and params are copied into every record; put it into the environment "
                    "or .env, and its name into teacher.api_key_env"
                )
        body = [request, request.get("extra_body") or {}]
        for name in (str(name) for block in body for name in block):
            if _plain(name) in OWNED_BY_CALLS:
                instead = OWNED_BY_CALLS[_plain(name)]
                remedy = f"take it out, and set {instead}" if instead else "take it out"
                raise ValueError(f"{name!r} is set by every call itself; {remedy}")
        return request

    @field_validator("base_url")
    @classmethod
    def _no_password(cls, url: str | None) -> str | None:
        if url is not None and "@" in url.partition("://")[2].partition("/")[0]:
            raise ValueError(
                "the address holds a name or password, and params are copied into every record; take it out, put the "
                "key into the environment or .env, and its name into teacher.api_key_env"
            )
        return url


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")
