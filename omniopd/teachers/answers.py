"""Reads the answers of APIs: their replies, checked, and the usage that is booked for them.

All have the form of OpenAI's endpoints: as the server sent it, or as litellm converted another vendor's.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omniopd.redaction import holds_key
from omniopd.teachers.cache import Usage
from omniopd.teachers.prices import Prices

BYTES_PER_TOKEN = 8  # the mean over a text is below this in every vocabulary
MAX_TEMPLATE_TOKENS = 64  # that an API puts around a prompt
FINISHED = ("stop", "length")
UNREADABLE, ONLY_THINKING, EMPTY = "unreadable", "only_thinking", "empty"
# Servers' finish reasons, in lower case, as ours; others are "stop".
FINISH_REASONS = {
    **dict.fromkeys(("length", "max_tokens", "model_length"), "length"),
    **dict.fromkeys(
        ("content_filter", "content_filtered", "safety", "sensitive", "recitation", "blocklist", "refusal"),
        "content_filter",
    ),
    **dict.fromkeys(("error", "abort", "network_error"), UNREADABLE),
    "tool_calls": "tool_calls",
    "function_call": "function_call",
}
SURROGATE = re.compile("[\ud800-\udfff]")  # half of a pair, which no file can store
# A leading block of thoughts, which some servers leave in the content of a chat.
THOUGHT = re.compile(r"<(think|thinking|budget:thinking)>.*?</(think|thinking|budget:thinking)>", re.DOTALL)


@dataclass(frozen=True)
class Reserved:
    """The bytes that one call sends, and the most tokens that it may be billed for.

    >>> Reserved(prompt_bytes=15, completion_tokens=16).prompt_tokens
    79
    """

    prompt_bytes: int
    completion_tokens: int

    @property
    def prompt_tokens(self) -> int:
        """An upper bound: no token is shorter than one byte."""
        return self.prompt_bytes + MAX_TEMPLATE_TOKENS

    def usage(self, prices: Prices) -> Usage:
        """The usage of a call that uses all of it, with the prompt at the dearer of two prices: read, or cached."""
        cost = prices.cost(
            prompt_tokens=self.prompt_tokens,
            cached_tokens=0,
            written_tokens=self.prompt_tokens if prices.cache_write > prices.input else 0,
            completion_tokens=self.completion_tokens,
        )
        return Usage(self.prompt_tokens, 0, self.completion_tokens, cost)


@dataclass(frozen=True)
class Answer:
    """(text, finish reason) of each reply of a call, and the usage that is booked for it.

    A reason other than "stop" and "length" says why a reply cannot be used. `misstated`: the server's count of tokens
    was missing or impossible.

    >>> Answer((("=0", "length"), ("=1", "length")), Usage(15, 0, 4, 0.0)).replies[1]
    ('=1', 'length')
    """

    replies: tuple[tuple[str, str], ...]
    usage: Usage
    misstated: bool = False


class UnreadableError(Exception):
    """An answer without replies. `usage` is booked for it; None where it states no tokens."""

    def __init__(self, message: str, usage: Usage | None):
        super().__init__(message)
        self.usage = usage


def read_answer(body: Any, reserved: Reserved, prices: Prices) -> Answer:
    """The replies of a successful answer, by their index.

    Raises:
        UnreadableError: it has none.
    """
    if not isinstance(body, Mapping):
        raise UnreadableError(f"an answer that is no JSON object but {type(body).__name__}", None)
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        message = f"an answer without replies: choices is {body.get('choices', 'missing')!r:.40}"
        if body.get("error"):
            message = f"an error in an answer of status 200: {body['error']!s:.200}"
        raise UnreadableError(message, _stated_usage(body.get("usage"), reserved, prices))
    replies = [_reply(choice) for choice in _in_order(choices)]
    num_bytes = sum(len(text.encode(errors="surrogatepass")) for text, _ in replies)
    usage, misstated = _booked(body.get("usage"), reserved, num_bytes, prices)
    return Answer(tuple(replies), usage, misstated)


def unread_usage(body: Any, reserved: Reserved, prices: Prices) -> Usage | None:
    """The usage that is booked for an unreadable answer in another vendor's form; None where it seems to be empty."""
    if not isinstance(body, Mapping):
        return None
    usage = _mapping(body.get("usage"))
    renamed = {"prompt_tokens": usage.get("input_tokens"), "completion_tokens": usage.get("output_tokens")}
    if any(body.get(name) for name in ("content", "candidates", "output", "choices")):
        return _booked(renamed, reserved, 0, prices)[0]
    return _stated_usage(renamed, reserved, prices)


# Replies.


def _in_order(choices: Sequence[Any]) -> list[Any]:
    """The choices by their index, each index once; in the given order where an index is missing."""
    by_index: dict[int, Any] = {}
    for choice in choices:
        index = _mapping(choice).get("index")
        if type(index) is not int:
            return list(choices)
        by_index.setdefault(index, choice)
    return [by_index[index] for index in sorted(by_index)]


def _reply(choice: Any) -> tuple[str, str]:
    """Text and finish reason of a choice; where it cannot be used, the reason says why."""
    if not isinstance(choice, Mapping):
        return "", UNREADABLE
    reason = _finish_reason(choice.get("finish_reason"))
    if "message" in choice:
        text, has_thoughts = _message(choice["message"])
        message = _mapping(choice["message"])
        if message.get("refusal") and not message.get("content"):
            reason = "content_filter"
    else:
        text, has_thoughts = choice.get("text"), False
    if reason not in FINISHED:
        return text if isinstance(text, str) else "", reason
    if not isinstance(text, str):
        return "", ONLY_THINKING if has_thoughts else UNREADABLE
    if SURROGATE.search(text) or holds_key(text):
        return text, UNREADABLE
    if not text and (has_thoughts or reason == "length"):
        return "", ONLY_THINKING if has_thoughts else EMPTY
    return text, reason


def _message(message: Any) -> tuple[Any, bool]:
    """The text of a turn of a chat, None where it has none, and whether the teacher thought."""
    if not isinstance(message, Mapping):
        return None, False
    thoughts = message.get("reasoning_content") or message.get("reasoning") or message.get("thinking_blocks")
    content = message.get("content")
    if content is None and not thoughts and "content" in message:
        return "", False  # an empty turn, as many servers write it
    if isinstance(content, list):
        content, has_thoughts = _joined(content)
        thoughts = thoughts or has_thoughts
    if not isinstance(content, str):
        return content, bool(thoughts)
    block = None if thoughts else THOUGHT.match(content)
    return (content[block.end() :], True) if block else (content, bool(thoughts))


def _joined(parts: Sequence[Any]) -> tuple[str | None, bool]:
    """The text of content parts, None where one is neither text nor thoughts; and whether there are thoughts."""
    texts, has_thoughts = [], False
    for part in parts:
        part = _mapping(part)
        kind = part.get("type")
        if kind in ("thinking", "reasoning"):
            has_thoughts = True
        elif kind in ("text", "output_text") and isinstance(part.get("text"), str):
            texts.append(part["text"])
        else:
            return None, has_thoughts
    return "".join(texts), has_thoughts


def _finish_reason(stated: Any) -> str:
    """ "stop", "length", or why a reply cannot be used, of a closed set. A missing one is "stop"."""
    if stated is None:
        return "stop"
    return FINISH_REASONS.get(stated.lower(), "stop") if isinstance(stated, str) else UNREADABLE


# Usage.


def _booked(stated: Any, reserved: Reserved, reply_bytes: int, prices: Prices) -> tuple[Usage, bool]:
    """The stated usage, limited to the possible range, and whether it was outside.

    A count that is missing or impossible is booked at all that was reserved for it.
    """
    usage = _mapping(stated)
    prompt, is_prompt_off = _bounded(
        usage.get("prompt_tokens"), -(-reserved.prompt_bytes // BYTES_PER_TOKEN), reserved.prompt_tokens
    )
    completion, is_completion_off = _bounded(
        usage.get("completion_tokens"), -(-reply_bytes // BYTES_PER_TOKEN), reserved.completion_tokens
    )
    return _priced(usage, prompt, completion, prices), is_prompt_off or is_completion_off


def _bounded(stated: Any, least: int, most: int) -> tuple[int, bool]:
    count = _count(stated)
    if count is None or (count == 0 and least > 0):
        return most, True
    bounded = min(max(count, least), most)
    return bounded, bounded != count


def _stated_usage(stated: Any, reserved: Reserved, prices: Prices) -> Usage | None:
    """The usage that an answer without replies states; None where it states none."""
    usage = _mapping(stated)
    prompt = min(_count(usage.get("prompt_tokens")) or 0, reserved.prompt_tokens)
    completion = min(_count(usage.get("completion_tokens")) or 0, reserved.completion_tokens)
    return _priced(usage, prompt, completion, prices) if prompt or completion else None


def _priced(usage: Mapping[str, Any], prompt: int, completion: int, prices: Prices) -> Usage:
    details = _mapping(usage.get("prompt_tokens_details"))
    cached = _count(details.get("cached_tokens")) or _count(usage.get("prompt_cache_hit_tokens")) or 0
    written = _count(details.get("cache_creation_tokens")) or 0
    cached = min(cached, prompt)
    written = min(written, prompt - cached)
    cost = prices.cost(
        prompt_tokens=prompt, cached_tokens=cached, written_tokens=written, completion_tokens=completion
    )
    return Usage(prompt, cached, completion, cost)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _count(value: Any) -> int | None:
    """A number of tokens; None where the value is not one."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and value >= 0 else None
