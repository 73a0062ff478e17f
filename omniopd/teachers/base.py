"""The teacher as the method sees it: it is given a prefix and returns text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class TeacherRequest:
    """Continue `prefix`, the response so far, num_replies times, each of at most max_tokens teacher tokens.

    Reply n draws from seed + n. Seeds of two requests are at least num_replies apart.

    >>> TeacherRequest("r0007-train-00012-0/5", "4185+5874=", "5+4+0", num_replies=4, max_tokens=2, seed=488).prefix
    '5+4+0'
    """

    id: str
    prompt: str
    prefix: str
    num_replies: int
    max_tokens: int
    seed: int


@dataclass(frozen=True)
class TeacherAnswer:
    """The replies to one request, and what they cost. Text, and nothing else of the teacher.

    >>> TeacherAnswer(["=0", "=0", "=1", "=0"], mode="completion", prompt_tokens=15, completion_tokens=8).replies[2]
    '=1'
    """

    replies: list[str]
    mode: str  # the way the teacher was asked
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float = 0.0


class Teacher(Protocol):
    """Answers requests in their order."""

    @property
    def name(self) -> str:
        """What stands beside every verdict."""
        ...

    def answer(self, requests: Sequence[TeacherRequest]) -> list[TeacherAnswer]:
        """One answer a request, each with exactly num_replies replies.

        Raises:
            TeacherError: it cannot answer.
        """
        ...
