"""Tasks and their problems."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Problem:
    """A prompt with its worked solution and its answer.

    Problems with the same `key` are the same: for addition, those with the same operands in either order.

    >>> Problem("4185+5874=", "5+4+0=09;8+7+0=15;1+8+1=10;4+5+1=10;>10059", "10059", "4185,5874").answer
    '10059'
    """

    prompt: str
    solution: str
    answer: str
    key: str


class Task(Protocol):
    """A family of problems in a small alphabet."""

    name: str
    alphabet: str  # every character of a prompt or a solution
    answer_pattern: str  # its first group is the answer, searched in a finished response

    def problem(self, rng: random.Random) -> Problem:
        """A random problem."""
        ...


def distinct_problems(task: Task, rng: random.Random) -> Iterator[Problem]:
    """Endless problems, no two of them with the same key."""
    seen: set[str] = set()
    while True:
        problem = task.problem(rng)
        if problem.key not in seen:
            seen.add(problem.key)
            yield problem
