"""Estimates from a sample of responses what a run will ask of its teacher: calls, tokens, dollars, minutes."""

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields

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


@dataclass(frozen=True)
class Sampled:
    """A response of the student, and the tokens of its prompt as the teacher reads it."""

    trajectory: Trajectory
    prompt_tokens: float
    shared_tokens: float = 0.0  # of these, at the beginning of every prompt


def estimate(
    sample: Sequence[Sampled], method: Method, *, num_samples: int, profile: TeacherProfile
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


def _of_solution(item: Sampled, num_samples: int, profile: TeacherProfile) -> Estimate:
    """One solution, assumed as long as the student's response; its prompt is read once per call."""
    calls = -(-num_samples // profile.samples_per_call) / num_samples
    return Estimate(
        calls=calls,
        prompt_tokens=calls * item.prompt_tokens,
        cached_tokens=(calls - 1 / num_samples) * profile.cached(item.prompt_tokens)
        + profile.cached(item.shared_tokens) / num_samples,
        completion_tokens=profile.count(item.trajectory.response, item.trajectory.response_ids),
    )


def _of_audits(item: Sampled, method: Method, audit: Audit, profile: TeacherProfile) -> Estimate:
    """The audits of one response. Each prefix begins the next, so a cache has all that the one before it read."""
    response, ids = item.trajectory.response, item.trajectory.response_ids
    anchors = method.anchors(item.trajectory)
    num_calls = -(-audit.num_replies // profile.samples_per_call)
    per_token = profile.count(response, ids) / max(1, len(ids))
    prefixes = [item.prompt_tokens + anchor * per_token for anchor in anchors]
    cached = [profile.cached(prefix) for prefix in prefixes]
    max_tokens = audit.chunk_len + audit.spare_tokens
    written = [min(max_tokens, (len(ids) - anchor) * per_token) for anchor in anchors]
    first = profile.cached(item.shared_tokens) if anchors else 0
    return Estimate(
        calls=num_calls * len(anchors),
        prompt_tokens=num_calls * sum(prefixes),
        cached_tokens=first + sum(cached[:-1]) + (num_calls - 1) * sum(cached),
        completion_tokens=audit.num_replies * sum(written),
    )
