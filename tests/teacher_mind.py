"""What the tests' teacher thinks, and which of its requests fail: both the same in every process."""

import random
import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Protocol

from omniopd.tasks import TASKS, Addition

SUM = re.compile(r"(\d{4})\+(\d{4})=")
DIGITS = "0123456789"
MEAN_LEN = 32  # of what is written after a text that asks for no sum

KINDS = (
    "rate_limit", "server_error", "unavailable", "reset", "timeout", "empty", "truncated", "fewer", "drip",
    "content_type",
)  # fmt: skip
STATUSES = {"rate_limit": 429, "server_error": 500, "unavailable": 503}
UNANSWERED = {*STATUSES, "reset", "timeout", "truncated", "content_type"}

Reply = tuple[str, str]  # text, and "stop", "length" or "content_filter"
Split = tuple[str, str]  # prompt, and prefix


class Mind(Protocol):
    """What the teacher thinks, in characters: so many are a token as the vendor has it, and the end is one."""

    def reply(self, prompt: str, prefix: str, max_chars: int, seed: int | None) -> Reply:
        """What follows the prefix, and "stop", or "length" where its end is not within max_chars."""
        ...

    def split(self, text: str) -> Split:
        """A text to complete, as prompt and prefix."""
        ...


@dataclass(frozen=True)
class AdditionMind:
    """Adds as the built-in task does. After a wrong prefix it goes on at the same place of its own solution.

    To any other text it writes digits, each determined by all that stands before it: its solution of a prompt is
    one and the same, however it is cut. `noise` is the probability that a character becomes another digit,
    where a seed says how.

    >>> AdditionMind().reply("4185+5874=", "5+4+0", 4, seed=0)
    ('=09;', 'length')
    """

    noise: float = 0.0

    def reply(self, prompt: str, prefix: str, max_chars: int, seed: int | None) -> Reply:
        solution = worked_solution(prompt)
        if solution is None:
            text, reason = _digits_after(prompt + prefix, max_chars)
        else:
            rest = solution[len(prefix) :]
            text, reason = rest[:max_chars], "stop" if len(rest) < max_chars else "length"
        return text if seed is None else self._noisy(text, prompt, prefix, seed), reason

    def split(self, text: str) -> Split:
        match = SUM.match(text)
        end = match.end() if match else len(text)
        return text[:end], text[end:]

    def _noisy(self, text: str, *drawn_from: object) -> str:
        if not self.noise:
            return text
        rng = random.Random(_hash(*drawn_from))
        return "".join(_other_digit(char, rng) if rng.random() < self.noise else char for char in text)


@lru_cache(maxsize=65536)
def worked_solution(prompt: str) -> str | None:
    """The solution of a sum of two numbers of four digits; None of anything else."""
    match = SUM.fullmatch(prompt)
    task = TASKS["addition"]
    assert isinstance(task, Addition)
    return task.of(int(match[1]), int(match[2])).solution if match else None


@dataclass(frozen=True)
class Faults:
    """Which request fails and how: the same for the same body asked for the same time.

    `share` of the requests are hit, by one of `kinds`. A filter hits `filter_share` of the bodies, whenever they
    are asked. "timeout" stalls for slow_s and drops the connection; "drip" sends its answer over slow_s. "fewer"
    hits only where more than one reply is asked for.

    >>> Faults(share=1.0, kinds=("reset",)).hitting("5f0c", num_asked=3, n=1)
    'reset'
    """

    share: float = 0.0
    seed: int = 0
    kinds: tuple[str, ...] = KINDS
    retry_after_s: float = 0.05
    slow_s: float = 1.0
    filter_share: float = 0.0

    def __post_init__(self):
        if unknown := set(self.kinds) - set(KINDS):
            raise ValueError(
                f"kinds: {sorted(unknown)}: choose from {KINDS}; filters have filter_share, and restart() a restart"
            )

    def hitting(self, body: str, num_asked: int, n: int) -> str | None:
        """The kind of fault that hits a body which was asked num_asked times before, for n replies; None for none."""
        kinds = [kind for kind in self.kinds if kind != "fewer" or n > 1]
        kind = None
        if kinds and _share(self.seed, "hit", body, num_asked) < self.share:
            kind = kinds[_hash(self.seed, "kind", body, num_asked) % len(kinds)]
        if kind not in (None, "fewer", "drip"):
            return kind
        return (
            "filter" if self.filter_share and _share(self.seed, "filter", body) < self.filter_share else kind
        )


def _hash(*parts: object) -> int:
    """48 bits from the parts, the same in every process."""
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(blake2b(text.encode(errors="surrogatepass"), digest_size=6).digest(), "big")


def _share(*parts: object) -> float:
    return _hash(*parts) / 2**48


def _other_digit(char: str, rng: random.Random) -> str:
    return rng.choice([digit for digit in DIGITS if digit != char])


def _digits_after(text: str, max_chars: int) -> Reply:
    seen = blake2b(text.encode(errors="surrogatepass"), digest_size=6)
    written = ""
    for _ in range(max_chars):
        drawn = int.from_bytes(seen.digest(), "big")
        if drawn % MEAN_LEN == 0:
            return written, "stop"
        written += DIGITS[drawn // MEAN_LEN % len(DIGITS)]
        seen.update(written[-1].encode())
    return written, "length"
