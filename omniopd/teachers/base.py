"""The teacher as a method sees it: it takes a prefix and returns text."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from omniopd.data.conversation import Conversation, Message
from omniopd.data.decoding import through_stop
from omniopd.errors import TeacherError

STOP_STRING = "stop_string"  # the finish reason of a reply that a stop string of the request ended


@dataclass(frozen=True)
class TeacherRequest:
    """Continue `prefix`, the response so far, num_replies times, each by at most max_tokens teacher tokens.

    The response is one to `messages`: the history, such as a system message, and the prompt. Nothing is wanted after
    the first of the `stop` strings, which may begin in the prefix; `ask` cuts replies there.
    `temperature` None is the teacher's default. Reply n draws from seed + n; seeds of two requests are at least
    num_replies apart. Each prefix of a trajectory begins the next, and its requests come in ascending order.

    >>> request = TeacherRequest(
    ...     "r0007-train-00012-0/5", "r0007-train-00012-0", "4185+5874=", "5+4+0",
    ...     num_replies=4, max_tokens=2, seed=488)
    >>> request.prefix
    '5+4+0'
    """

    id: str
    trajectory_id: str
    prompt: str
    prefix: str
    num_replies: int
    max_tokens: int
    seed: int
    temperature: float | None = None
    history: Conversation = ()
    stop: tuple[str, ...] = ()

    @property
    def messages(self) -> Conversation:
        return (*self.history, Message("user", self.prompt))


def request_of(messages: Conversation, **fields: Any) -> TeacherRequest:
    """The request about a conversation, with the other fields of TeacherRequest."""
    return TeacherRequest(prompt=messages[-1].content, history=messages[:-1], **fields)


@dataclass(frozen=True)
class TeacherAnswer:
    """The replies to one request, and their costs. Text, and nothing else of the teacher.

    A finish reason is "stop" where the teacher ended its answer, "length" where the reply was cut at max_tokens, and,
    after `ask`, STOP_STRING where it was cut at a stop string, which it includes.
    A failed answer has no replies, and `failure` says why in a word.

    >>> answer = TeacherAnswer(
    ...     ["=0", "=0", "=1", "=0"], ["length"] * 4, mode="completion", prompt_tokens=15, completion_tokens=8)
    >>> answer.replies[2]
    '=1'
    """

    replies: list[str]
    finish_reasons: list[str]
    mode: str  # the way the teacher was asked
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float = 0.0
    failure: str = ""

    @classmethod
    def failed(cls, failure: str, *, mode: str) -> "TeacherAnswer":
        """An answer without replies; `failure` is the reason in a word."""
        return cls([], [], mode=mode, prompt_tokens=0, completion_tokens=0, failure=failure)


class Teacher(Protocol):
    """Answers requests in their order."""

    @property
    def name(self) -> str:
        """The name in every verdict."""
        ...

    def answer(self, requests: Sequence[TeacherRequest]) -> list[TeacherAnswer]:
        """One answer per request, each with exactly num_replies replies, or with a failure and none.

        Raises:
            TeacherError: it cannot answer.
        """
        ...


def ask(teacher: Teacher, requests: Sequence[TeacherRequest]) -> list[TeacherAnswer]:
    """The teacher's answers, each checked to have the requested number of replies, or a failure; see `TeacherAnswer`.

    Raises:
        TeacherError: a request has another number of replies, or no answer.
    """
    answers = teacher.answer(requests)
    if len(answers) != len(requests):
        raise TeacherError(f"{teacher.name}: {len(answers)} answers to {len(requests)} requests; ask again")
    for request, answer in zip(requests, answers, strict=True):
        if answer.failure and not answer.replies:
            continue
        if len(answer.replies) != request.num_replies:
            raise TeacherError(
                f"{teacher.name}: {len(answer.replies)} replies to {request.id} where {request.num_replies} were "
                "asked for; a short sample would pass for disagreement, so ask again"
            )
        if len(answer.finish_reasons) != request.num_replies:
            raise TeacherError(
                f"{teacher.name}: {len(answer.finish_reasons)} finish reasons for the {request.num_replies} replies "
                f"to {request.id}; give one a reply"
            )
    return [_ended(*pair) for pair in zip(requests, answers, strict=True)]


def _ended(request: TeacherRequest, answer: TeacherAnswer) -> TeacherAnswer:
    """The answer with its replies cut where a stop string is complete."""
    if not request.stop:
        return answer
    prefix, replies, reasons = request.prefix, [], []
    for reply, reason in zip(answer.replies, answer.finish_reasons, strict=True):
        response = prefix + reply
        ended = through_stop(response, request.stop)
        has_ended = len(prefix) < len(ended) and ended.endswith(request.stop)
        replies.append(ended[len(prefix) :] if has_ended else reply)
        reasons.append(STOP_STRING if has_ended else reason)
    return replace(answer, replies=replies, finish_reasons=reasons)
