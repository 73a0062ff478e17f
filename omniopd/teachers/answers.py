"""What an answer of an API holds: its replies, checked, and what it is booked at.

One shape is read, that of OpenAI's endpoints: as the server sent it, or as litellm made it of another vendor's.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omniopd.redaction import holds_key
from omniopd.teachers.cache import Usage
from omniopd.teachers.prices import Prices

BYTES_PER_TOKEN = 8  # no vocabulary has longer tokens in the mean of a text
MOST_TEMPLATE_TOKENS = 64  # that an API puts around a prompt
FINISHED = ("stop", "length")
UNREADABLE, ONLY_THINKING, EMPTY = "unreadable", "only_thinking", "empty"
STOPPED = ("stop", "eos", "eos_token", "end_turn", "stop_sequence")
CUT = ("length", "max_tokens", "model_length")
INTERRUPTED = ("error", "abort", "network_error")
FILTERED = ("content_filter", "content_filtered", "safety", "sensitive", "recitation", "blocklist", "refusal")
# A leading block of thoughts, as servers leave it in a chat's content that do not take it out themselves.
THOUGHT = re.compile(r"<(think|thinking|budget:thinking)>.*?</(think|thinking|budget:thinking)>", re.DOTALL)


@dataclass(frozen=True)
class Reserved:
    """What one call may be billed for at most, and the bytes that it sends.

    >>> Reserved(prompt_tokens=79, completion_tokens=16, prompt_bytes=15).completion_tokens
    16
    """

    prompt_tokens: int
    completion_tokens: int
    prompt_bytes: int

    @classmethod
    def of(cls, prompt_bytes: int, max_tokens: int) -> "Reserved":
        """No token is shorter than one byte."""
        return cls(prompt_bytes + MOST_TEMPLATE_TOKENS, max_tokens, prompt_bytes)

    def usage(self, prices: Prices) -> Usage:
        """All of it."""
        return _priced({}, self.prompt_tokens, self.completion_tokens, prices)


@dataclass(frozen=True)
class Answer:
    """What a call brought: (text, finish reason) of each reply, and what it is booked at.

    A reason other than "stop" and "length" says why a reply cannot be used. `misstated` is true where the server's
    own count of tokens was missing or could not be.

    >>> Answer((("=0", "length"), ("=1", "length")), Usage(15, 0, 4, 0.0)).replies[1]
    ('=1', 'length')
    """

    replies: tuple[tuple[str, str], ...]
    usage: Usage
    misstated: bool = False


class UnreadableError(Exception):
    """An answer without replies. `usage` is what it is booked at, or None where it states no tokens."""

    def __init__(self, message: str, usage: Usage | None):
        super().__init__(message)
        self.usage = usage


def read_answer(body: Any, reserved: Reserved, prices: Prices) -> Answer:
    """The replies of a successful answer, in their order.

    Raises:
        UnreadableError: it holds none.
    """
    choices = body.get("choices") if isinstance(body, Mapping) else None
    if not isinstance(choices, list) or not choices:
        raise UnreadableError(_what_instead(body), _stated_alone(body, reserved, prices))
    replies = [_reply(choice) for choice in _in_order(choices)]
    num_bytes = sum(len(text.encode(errors="surrogatepass")) for text, _ in replies)
    usage, misstated = _booked(body.get("usage"), reserved, num_bytes, prices)
    return Answer(tuple(replies), usage, misstated)


def unread_usage(body: Any, reserved: Reserved, prices: Prices) -> Usage | None:
    """What an answer of another shape that cannot be read is booked at; None where it seems to hold nothing."""
    if not isinstance(body, Mapping):
        return None
    stated = body.get("usage")
    usage = stated if isinstance(stated, Mapping) else {}
    renamed = {
        "prompt_tokens": usage.get("input_tokens"),
        "completion_tokens": usage.get("output_tokens"),
    }
    if any(body.get(name) for name in ("content", "candidates", "output", "choices")):
        return _booked(renamed, reserved, 0, prices)[0]
    return _stated_alone({"usage": renamed}, reserved, prices)


def _what_instead(body: Any) -> str:
    if not isinstance(body, Mapping):
        return f"an answer that is no JSON object but {type(body).__name__}"
    if body.get("error"):
        return f"an error in an answer of status 200: {body['error']!s:.200}"
    return f"an answer without replies: choices is {body.get('choices', 'missing')!r:.40}"


# Replies.


def _in_order(choices: Sequence[Any]) -> list[Any]:
    """The choices by their index, each index once; as they come where not all have one."""
    first: dict[int, Any] = {}
    for choice in choices:
        index = choice.get("index") if isinstance(choice, Mapping) else None
        if type(index) is not int:
            return list(choices)
        first.setdefault(index, choice)
    return [first[index] for index in sorted(first)]


def _reply(choice: Any) -> tuple[str, str]:
    """Text and finish reason of a choice; where it cannot be used, the reason says why."""
    if not isinstance(choice, Mapping):
        return "", UNREADABLE
    reason = _finish_reason(choice.get("finish_reason"))
    if "message" in choice:
        text, has_thoughts = _message(choice["message"])
        reason = "content_filter" if _is_refusal(choice["message"]) else reason
    else:
        text, has_thoughts = choice.get("text"), False
    if reason not in FINISHED:
        return text if isinstance(text, str) else "", reason
    if not isinstance(text, str):
        return "", ONLY_THINKING if has_thoughts else UNREADABLE
    if not _is_storable(text) or holds_key(text):
        return text, UNREADABLE
    if not text and (has_thoughts or reason == "length"):
        return "", ONLY_THINKING if has_thoughts else EMPTY
    return text, reason


def _message(message: Any) -> tuple[Any, bool]:
    """What the teacher says in a turn of a chat, None where that is no text, and whether it thought."""
    if not isinstance(message, Mapping):
        return None, False
    thoughts = message.get("reasoning_content") or message.get("reasoning") or message.get("thinking_blocks")
    content = message.get("content")
    if content is None and not thoughts and "content" in message:
        return "", False  # an empty turn, as many servers write it
    if isinstance(content, list):
        content, in_parts = _joined(content)
        thoughts = thoughts or in_parts
    if not isinstance(content, str):
        return content, bool(thoughts)
    block = None if thoughts else THOUGHT.match(content)
    return (content[block.end() :], True) if block else (content, bool(thoughts))


def _is_refusal(message: Any) -> bool:
    return isinstance(message, Mapping) and not message.get("content") and bool(message.get("refusal"))


def _joined(parts: Sequence[Any]) -> tuple[str | None, bool]:
    """The text of a content in parts, None where one is neither text nor thoughts; and whether there are thoughts."""
    texts, has_thoughts = [], False
    for part in parts:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind in ("thinking", "reasoning"):
            has_thoughts = True
        elif kind in ("text", "output_text") and isinstance(part.get("text"), str):
            texts.append(part["text"])
        else:
            return None, has_thoughts
    return "".join(texts), has_thoughts


def _finish_reason(stated: Any) -> str:
    """ "stop", "length", or why a reply is none, from a closed set. One that is missing is "stop"."""
    if stated is None or stated == "":
        return "stop"
    if not isinstance(stated, str):
        return UNREADABLE
    name = stated.lower()
    for reason, names in (
        ("stop", STOPPED), ("length", CUT), ("content_filter", FILTERED), (UNREADABLE, INTERRUPTED),
    ):  # fmt: skip
        if name in names:
            return reason
    return name if name in ("tool_calls", "function_call") else "stop"


def _is_storable(text: str) -> bool:
    """Whether a text is one: half of a surrogate pair is no character, and no file takes it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# What it is booked at.


def _booked(stated: Any, reserved: Reserved, reply_bytes: int, prices: Prices) -> tuple[Usage, bool]:
    """The tokens that the server states, between what was sent and written and what was reserved.

    A count that is missing, or cannot be, is booked at all that was reserved for it.
    """
    usage = stated if isinstance(stated, Mapping) else {}
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


def _stated_alone(body: Any, reserved: Reserved, prices: Prices) -> Usage | None:
    """What an answer without replies says that it is billed for; None where it says nothing."""
    usage = body.get("usage") if isinstance(body, Mapping) else None
    if not isinstance(usage, Mapping):
        return None
    prompt = min(_count(usage.get("prompt_tokens")) or 0, reserved.prompt_tokens)
    completion = min(_count(usage.get("completion_tokens")) or 0, reserved.completion_tokens)
    return _priced(usage, prompt, completion, prices) if prompt or completion else None


def _priced(usage: Mapping[str, Any], prompt: int, completion: int, prices: Prices) -> Usage:
    details = usage.get("prompt_tokens_details")
    details = details if isinstance(details, Mapping) else {}
    cached = _count(details.get("cached_tokens")) or _count(usage.get("prompt_cache_hit_tokens")) or 0
    written = _count(details.get("cache_creation_tokens")) or 0
    cached = min(cached, prompt)
    written = min(written, prompt - cached)
    cost = prices.cost(
        prompt_tokens=prompt, cached_tokens=cached, written_tokens=written, completion_tokens=completion
    )
    return Usage(prompt, cached, completion, cost)


def _count(value: Any) -> int | None:
    """A number of tokens, None where it is none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and value >= 0 else None
