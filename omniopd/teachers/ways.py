"""How a prefix is put to a teacher behind an API, and how its answer is read back (method.md, section 6)."""

import json
from dataclasses import dataclass
from typing import Any, Literal

Way = Literal["prefill", "completion", "instruct"]
# How an API is told that the last turn is to be continued: by that turn alone, by a flag on it, or by two
# settings of the request, as vLLM has them.
Prefill = Literal["turn", "flag", "setting"]

CONTINUE = """{prompt}

An answer to this was begun. Here it is, between two lines of dashes:
-----
{prefix}
-----
Go on exactly where it stops: the first character that you write comes right after its last. Write only what \
follows: do not repeat it, do not start again, do not comment."""

SHORTEST_ECHO = (
    16  # characters of a prefix that a reply repeats, rather than begins alike: "(a+b)" is written twice
)


@dataclass(frozen=True)
class Put:
    """A prefix as one way puts it: a text to complete, or the messages of a chat.

    `stripped` is the white space taken from the prefix's end, which this API does not accept there.

    >>> Put(text=None, messages=({"role": "user", "content": "1+2="},), settings={}, stripped="").messages[0]["role"]
    'user'
    """

    text: str | None
    messages: tuple[dict[str, Any], ...]
    settings: dict[str, Any]
    stripped: str

    @property
    def num_bytes(self) -> int:
        """Bytes of all that is sent: no less than the tokens that it makes."""
        if self.text is not None:
            return len(self.text.encode(errors="surrogatepass"))
        texts = (json.dumps(turn["content"], ensure_ascii=False) for turn in self.messages)
        return sum(len(text.encode(errors="surrogatepass")) for text in texts)

    @property
    def extra_tokens(self) -> int:
        """Tokens to ask for beyond those of the reply: the stripped white space is written again."""
        return 1 if self.stripped else 0


def put(way: Way, prompt: str, prefix: str, *, prefill: Prefill, strips: bool, marks_cache: bool) -> Put:
    """The prefix, put to an API that way. An empty prefix is a question like any other.

    strips: the API refuses a last turn that ends in white space. marks_cache: it caches what is marked.
    """
    match way:
        case "completion":
            return Put(prompt + prefix, (), {}, "")
        case "instruct":
            asked = CONTINUE.format(prompt=prompt, prefix=prefix) if prefix else prompt
            return Put(None, (_turn("user", asked, marked=False),), {}, "")
        case "prefill":
            question = _turn("user", prompt, marked=marks_cache)
            begun = prefix.rstrip() if strips else prefix
            if not begun:
                return Put(None, (question,), {}, prefix)
            answer = _turn("assistant", begun, marked=False)
            if prefill == "flag":
                answer["prefix"] = True
            settings = (
                {"extra_body": {"continue_final_message": True, "add_generation_prompt": False}}
                if prefill == "setting"
                else {}
            )
            return Put(None, (question, answer), settings, prefix[len(begun) :])


def read(way: Way, asked: Put, prefix: str, text: str) -> str:
    """What follows the prefix in an answer: without the white space that was stripped, or an echo of the prefix."""
    if way == "instruct" and text.startswith(prefix) and _is_telling(prefix):
        return text[len(prefix) :]
    if not asked.stripped:
        return text
    if text.startswith(asked.stripped):
        return text[len(asked.stripped) :]
    return text.lstrip() if text[:1].isspace() else text


def _is_telling(prefix: str) -> bool:
    """Whether a reply that begins with the prefix repeats it, rather than continues text that repeats itself."""
    shown = prefix.strip()
    return len(shown) >= SHORTEST_ECHO and not _is_periodic(shown)


def _is_periodic(text: str) -> bool:
    """Whether a text is one unit at least twice, the last one perhaps cut: "ha ha ha", "1, 2, 1, 2, 1".

    Where it is, its first half comes again first after one unit.
    """
    half = text[: len(text) - len(text) // 2]
    unit = text.find(half, 1)
    return unit > 0 and text.startswith(text[unit:])


def _turn(role: str, content: str, *, marked: bool) -> dict[str, Any]:
    if not marked:
        return {"role": role, "content": content}
    block = {"type": "text", "text": content, "cache_control": {"type": "ephemeral"}}
    return {"role": role, "content": [block]}
