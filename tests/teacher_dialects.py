"""HTTP bodies as OpenAI and Anthropic write them: requests read, answers and errors written."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from teacher_mind import Mind, Reply, Split

# What of a body makes two requests the same.
TELLING = (
    "model", "prompt", "messages", "system", "n", "max_tokens", "max_completion_tokens", "temperature", "seed",
)  # fmt: skip


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


def parsed(sent: bytes) -> dict[str, Any]:
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


def body_hash(path: str, content: Mapping[str, Any]) -> str:
    """A name for what is asked, whatever else a client sends along."""
    telling = [path, *(content.get(name) for name in TELLING)]
    return blake2b(json.dumps(telling, sort_keys=True).encode(), digest_size=12).hexdigest()
