"""A prompt as a conversation: messages of a system, the user and the assistant, the last one the user's."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

Role = Literal["system", "user", "assistant"]
SHOWN = 60  # characters of a value in a message


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    >>> Message("user", "1+2=").as_row()
    {'role': 'user', 'content': '1+2='}
    """

    role: Role
    content: str

    def as_row(self) -> dict[str, str]:
        """The message as in JSON, and as chat templates and APIs take it."""
        return {"role": self.role, "content": self.content}


Conversation = tuple[Message, ...]


def conversation(prompt: str | Iterable[Message]) -> Conversation:
    """The messages of a prompt; a string is one message of the user."""
    return (Message("user", prompt),) if isinstance(prompt, str) else tuple(prompt)


def plain_text(messages: Sequence[Message]) -> str:
    """The text that a model without a chat template continues.

    An answer follows its question directly, as the model's response will; an empty line separates other messages.

    >>> shot = (Message("user", "2+2="), Message("assistant", "4"), Message("user", "3+5="))
    >>> plain_text(shot)
    '2+2=4\\n\\n3+5='
    """
    text, previous = "", None
    for message in messages:
        follows = message.role == "assistant" and previous == "user"
        text += message.content if follows or previous is None else f"\n\n{message.content}"
        previous = message.role
    return text


def transcript(messages: Sequence[Message]) -> str:
    """The messages for a reader, each after its role; one message of the user alone is its content."""
    if len(messages) == 1 and messages[0].role == "user":
        return messages[0].content
    return "\n\n".join(f"{message.role}: {message.content}" for message in messages)


def parsed(value: Sequence[Any]) -> Conversation:
    """The conversation in a list of messages, up to the last one of the user: what follows is an answer to it.

    A content may be a list of parts, of type text alone. The role `developer` is read as `system`.

    Raises:
        ValueError: the list is no conversation; the message continues "field 'messages' ".
    """
    messages = [_message(i, item) for i, item in enumerate(value, 1)]
    while messages and messages[-1].role != "user":
        del messages[-1]
    if not messages:
        raise ValueError("holds no message of a user; fix or leave out the row")
    for i, message in enumerate(messages[1:], 2):
        if message.role == "system":
            raise ValueError(f"has a system message in place {i}; put it first")
    return tuple(messages)


def _message(number: int, item: Any) -> Message:
    if not isinstance(item, Mapping) or "role" not in item:
        raise ValueError(f"holds {_shown(item)} as message {number}; write {{role, content}}")
    role = "system" if item["role"] == "developer" else item["role"]
    if role not in get_args(Role):
        raise ValueError(
            f"has the role {_shown(role)} in message {number}; only {', '.join(get_args(Role))} are known"
        )
    if item.get("tool_calls") or item.get("function_call"):
        raise ValueError(f"calls a tool in message {number}; only text is read: leave out the row")
    content = item.get("content")
    if isinstance(content, list | tuple):
        content = "".join(_part(number, part) for part in content)
    if not isinstance(content, str):
        raise ValueError(f"has {_shown(content)} as the content of message {number}, not a string")
    if not content or content.isspace():
        raise ValueError(f"has no content in message {number}; fill it or delete the message")
    return Message(role, content)


def _part(number: int, part: Any) -> str:
    if isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str):
        return part["text"]
    raise ValueError(f"has {_shown(part)} in message {number}; only parts of type text are read")


def _shown(value: Any) -> str:
    return repr(value)[:SHOWN]
