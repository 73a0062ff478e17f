"""How a prefix is sent to a teacher behind an API, and how its answer is read (method.md, section 6)."""

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from omniopd.data.conversation import Conversation, plain_text

Way = Literal["prefill", "completion", "instruct"]
# How an API is asked to continue the last turn: by that turn alone, by a flag on it, or by two settings of the
# request, as in vLLM.
Prefill = Literal["turn", "flag", "setting"]

CONTINUE = """{prompt}

An answer to this was begun. Here it is, between two lines of dashes:
-----
{prefix}
-----
Go on exactly where it stops: the first character that you write comes right after its last. Write only what \
follows: do not repeat it, do not start again, do not comment."""
# Characters of a prefix that a reply repeats, rather than begins with by chance: "(a+b)" is written twice.
MIN_ECHO_LEN = 16


@dataclass(frozen=True)
class Payload:
    """A prompt and a prefix as they are sent: a text to complete, or the messages of a chat.

    `stripped` is the white space removed from the end of the prefix, which this API does not accept there.

    >>> Payload(messages=({"role": "user", "content": "1+2="},)).messages[0]["role"]
    'user'
    """

    text: str | None = None
    messages: tuple[dict[str, Any], ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    stripped: str = ""

    @property
    def num_bytes(self) -> int:
        """UTF-8 bytes of the text or contents: an upper bound of their tokens."""
        texts = [self.text] if self.text is not None else []
        texts += [json.dumps(turn["content"], ensure_ascii=False) for turn in self.messages]
        return sum(len(text.encode(errors="surrogatepass")) for text in texts)

    @property
    def extra_tokens(self) -> int:
        """Tokens to request beyond those of the reply: the stripped white space is written again."""
        return 1 if self.stripped else 0


def payload_of(
    way: Way, messages: Conversation, prefix: str, *, prefill: Prefill, strips: bool, marks_cache: bool
) -> Payload:
    """The prompt and the prefix as that way sends them. With an empty prefix the prompt is sent alone.

    strips: the API refuses a last turn that ends in white space. marks_cache: it caches the parts that are marked.
    """
    history: list[dict[str, Any]] = [message.as_row() for message in messages[:-1]]
    prompt = messages[-1].content
    if marks_cache and history:  # a context that all prompts share
        history[-1]["content"] = _marked(history[-1]["content"])
    match way:
        case "completion":
            return Payload(text=plain_text(messages) + prefix)
        case "instruct":
            content = CONTINUE.format(prompt=prompt, prefix=prefix) if prefix else prompt
            return Payload(messages=(*history, {"role": "user", "content": content}))
        case "prefill":
            question = {"role": "user", "content": _marked(prompt) if marks_cache else prompt}
            sent = prefix.rstrip() if strips else prefix
            if not sent:
                return Payload(messages=(*history, question), stripped=prefix)
            answer: dict[str, Any] = {"role": "assistant", "content": sent}
            settings = {}
            if prefill == "flag":
                answer["prefix"] = True
            elif prefill == "setting":
                settings["extra_body"] = {"continue_final_message": True, "add_generation_prompt": False}
            turns = (*history, question, answer)
            return Payload(messages=turns, settings=settings, stripped=prefix[len(sent) :])


def _marked(text: str) -> list[dict[str, Any]]:
    """The content of a message up to which a vendor's cache keeps a prompt."""
    return [{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}]


def continuation(way: Way, payload: Payload, prefix: str, text: str) -> str:
    """The part of an answer that follows the prefix: without white space that was stripped, or an echo of the prefix.

    An instructed answer that begins with the prefix repeats it, unless the prefix is short or repeats itself.
    """
    if way == "instruct" and text.startswith(prefix):
        visible = prefix.strip()
        if len(visible) >= MIN_ECHO_LEN and not _is_periodic(visible):
            return text[len(prefix) :]
    if not payload.stripped:
        return text
    if text.startswith(payload.stripped):
        return text[len(payload.stripped) :]
    return text.lstrip() if text[:1].isspace() else text


def _is_periodic(text: str) -> bool:
    """Whether a text is one unit at least twice, the last one possibly cut: "ha ha ha", "1, 2, 1, 2, 1".

    If so, its first half occurs again, first after one unit.
    """
    half = text[: len(text) - len(text) // 2]
    unit = text.find(half, 1)
    return unit > 0 and text.startswith(text[unit:])
