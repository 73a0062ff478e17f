"""Estimates from a sample of responses what a run will ask of its teacher: calls, tokens, dollars, minutes."""

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields

from omniopd.data.conversation import plain_text
from omniopd.data.records import Trajectory
from omniopd.methods import Audit, Method
from omniopd.teachers.prices import Prices


@dataclass(frozen=True)
class TeacherProfile:
    """What the cost of a teacher depends on, besides its prices.

    >>> TeacherProfile(16, 1024, shares_tokens=True, count=lambda text, ids: len(ids)).cached(100)
    0
    """

    samples_per_call: int  # replies that one call may return
    caches_from: int | None  # tokens of the shortest prefix that its cache keeps; None: it has no cache
    shares_tokens: bool  # whether its tokens are the student's
    count: Callable[[str, Sequence[int]], int]  # teacher tokens of a text and its student tokens

    def cached(self, num_tokens: float) -> float:
        """How many tokens of such a prefix its cache keeps: all, or none."""
        return num_tokens if self.caches_from is not None and num_tokens >= self.caches_from else 0


@dataclass(frozen=True)
class Estimate:
    """Totals. `cached_tokens` are the prompt tokens that a prefix cache can already have.

    >>> Estimate(calls=256, prompt_tokens=7000, cached_tokens=3000, completion_tokens=2048).calls
    256
    """

    calls: float
    prompt_tokens: float
    cached_tokens: float
    completion_tokens: float

    def __mul__(self, factor: float) -> "Estimate":
        return Estimate(*(value * factor for value in astuple(self)))

    def cost_usd(self, prices: Prices, *, with_cache: bool) -> float:
        """Dollars, with what the provider's prefix cache can save or without."""
        return prices.cost(
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens if with_cache else 0,
            written_tokens=0,
            completion_tokens=self.completion_tokens,
        )

    def minutes(self, *, requests_per_minute: float | None, tokens_per_minute: float | None) -> float | None:
        """At the given rate limits; None where there are none."""
        num_tokens = self.prompt_tokens + self.completion_tokens
        limits = [(self.calls, requests_per_minute), (num_tokens, tokens_per_minute)]
        return max((amount / limit for amount, limit in limits if limit is not None), default=None)


def estimate(
    sample: Sequence[Trajectory], method: Method, *, num_samples: int, profile: TeacherProfile
) -> Estimate:
    """What the method asks about the mean of the sampled responses; 0 where it asks nothing.

    num_samples: responses per prompt.
    """
    estimates = []
    if method.source == "teacher":
        estimates = [_of_solution(item, num_samples, profile) for item in sample]
    elif audit := method.audit(shares_tokens=profile.shares_tokens):
        estimates = [_of_audits(item, method, audit, profile) for item in sample]
    totals = [sum(getattr(item, field.name) for item in estimates) for field in fields(Estimate)]
    return Estimate(*(total / max(1, len(sample)) for total in totals))


def _of_solution(item: Trajectory, num_samples: int, profile: TeacherProfile) -> Estimate:
    """One solution, assumed as long as the student's response; its prompt is read once per call."""
    calls = -(-num_samples // profile.samples_per_call) / num_samples
    prompt = profile.count(plain_text(item.messages), item.prompt_ids)
    return Estimate(
        calls=calls,
        prompt_tokens=calls * prompt,
        cached_tokens=(calls - 1 / num_samples) * profile.cached(prompt),
        completion_tokens=profile.count(item.response, item.response_ids),
    )


def _of_audits(item: Trajectory, method: Method, audit: Audit, profile: TeacherProfile) -> Estimate:
    """The audits of one response. Each prefix begins the next, so a cache has all that the one before it read."""
    anchors = method.anchors(item)
    num_calls = -(-audit.num_replies // profile.samples_per_call)
    prompt = profile.count(plain_text(item.messages), item.prompt_ids)
    per_token = profile.count(item.response, item.response_ids) / max(1, len(item.response_ids))
    prefixes = [prompt + anchor * per_token for anchor in anchors]
    cached = [profile.cached(prefix) for prefix in prefixes]
    max_tokens = audit.chunk_len + audit.spare_tokens
    written = [min(max_tokens, (len(item.response_ids) - anchor) * per_token) for anchor in anchors]
    return Estimate(
        calls=num_calls * len(anchors),
        prompt_tokens=num_calls * sum(prefixes),
        cached_tokens=sum(cached[:-1]) + (num_calls - 1) * sum(cached),
        completion_tokens=audit.num_replies * sum(written),
    )
