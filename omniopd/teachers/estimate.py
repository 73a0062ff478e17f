"""What a run will ask of its teacher, from a sample of responses: calls, tokens, dollars, minutes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from omniopd.data.records import Trajectory
from omniopd.methods import Audit, Method
from omniopd.teachers.prices import Prices


@dataclass(frozen=True)
class Asked:
    """How the teacher is asked.

    >>> Asked(16, 1024, shares_tokens=True, count=lambda text, ids: len(ids)).is_cached(100)
    False
    """

    samples_per_call: int  # replies that one call may bring
    caches_from: int | None  # tokens of the shortest prefix that its cache keeps; None: it has no cache
    shares_tokens: bool  # whether its tokens are the student's
    count: Callable[[str, Sequence[int]], int]  # its tokens of a text that is these tokens of the student's

    def is_cached(self, num_tokens: float) -> bool:
        """Whether a prefix of so many tokens is kept."""
        return self.caches_from is not None and num_tokens >= self.caches_from


@dataclass(frozen=True)
class Estimate:
    """What is asked for in all. `cached_tokens` are those of the prompts that a prefix cache can have already.

    >>> Estimate(calls=256, prompt_tokens=7000, cached_tokens=3000, completion_tokens=2048).calls
    256
    """

    calls: float
    prompt_tokens: float
    cached_tokens: float
    completion_tokens: float

    def __mul__(self, factor: float) -> "Estimate":
        return Estimate(
            self.calls * factor,
            self.prompt_tokens * factor,
            self.cached_tokens * factor,
            self.completion_tokens * factor,
        )

    def cost_usd(self, prices: Prices, *, with_cache: bool) -> float:
        """Dollars, with what the provider's prefix cache can save or without."""
        return prices.cost(
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens if with_cache else 0,
            written_tokens=0,
            completion_tokens=self.completion_tokens,
        )

    def minutes(self, *, requests_per_minute: float | None, tokens_per_minute: float | None) -> float | None:
        """At the given limits; None where there are none."""
        needed = []
        if requests_per_minute is not None:
            needed.append(self.calls / requests_per_minute)
        if tokens_per_minute is not None:
            needed.append((self.prompt_tokens + self.completion_tokens) / tokens_per_minute)
        return max(needed, default=None)


def estimate(
    sample: Sequence[Trajectory],
    method: Method,
    *,
    num_samples: int,
    asked: Asked,
) -> Estimate:
    """What the method would ask about the sampled responses, a mean trajectory's worth of it; 0 where it asks nothing.

    num_samples: responses a prompt.
    """
    if method.source == "teacher":
        found = [_solved(item, num_samples, asked) for item in sample]
    elif audit := method.audit(shares_tokens=asked.shares_tokens):
        found = [_audited(item, method, audit, asked) for item in sample]
    else:
        found = []
    totals = [sum(getattr(item, name) for item in found) for name in Estimate.__dataclass_fields__]
    return Estimate(*(total / max(1, len(sample)) for total in totals))


def _solved(item: Trajectory, num_samples: int, asked: Asked) -> Estimate:
    """One solution, which is thought as long as the student's response; its prompt is read once a call."""
    calls = -(-num_samples // asked.samples_per_call) / num_samples
    prompt = asked.count(item.prompt, item.prompt_ids)
    repeated = (calls - 1 / num_samples) * prompt
    return Estimate(
        calls=calls,
        prompt_tokens=calls * prompt,
        cached_tokens=repeated if asked.is_cached(prompt) else 0.0,
        completion_tokens=asked.count(item.response, item.response_ids),
    )


def _audited(item: Trajectory, method: Method, audit: Audit, asked: Asked) -> Estimate:
    """The audits of one response: each prefix begins the next, so that a cache has what the one before it read."""
    anchors = method.anchors(item)
    num_calls = -(-audit.num_replies // asked.samples_per_call)
    prompt = asked.count(item.prompt, item.prompt_ids)
    per_token = asked.count(item.response, item.response_ids) / max(1, len(item.response_ids))
    reads = [prompt + anchor * per_token for anchor in anchors]
    known = [0.0, *reads[:-1]]  # of each, what was read before it
    cached = sum(
        (before if asked.is_cached(before) else 0.0)
        + (num_calls - 1) * (read if asked.is_cached(read) else 0.0)
        for before, read in zip(known, reads, strict=False)
    )
    most = audit.chunk_len + audit.spare_tokens
    written = [min(most, (len(item.response_ids) - anchor) * per_token) for anchor in anchors]
    return Estimate(
        calls=num_calls * len(anchors),
        prompt_tokens=num_calls * sum(reads),
        cached_tokens=cached,
        completion_tokens=audit.num_replies * sum(written),
    )
