"""A teacher behind an API: bought replies first, then calls within the budget and the limits."""

import asyncio
import logging
import os
import random
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from omniopd.errors import ConfigError, TeacherError
from omniopd.teachers import loop
from omniopd.teachers.answers import EMPTY, FINISHED, ONLY_THINKING, UNREADABLE, Answer, Reserved
from omniopd.teachers.base import TeacherAnswer, TeacherRequest
from omniopd.teachers.cache import Bought, Budget, ReplyCache, reply_key
from omniopd.teachers.calls import LONGEST_PAUSE_S, CallError, Endpoint, call
from omniopd.teachers.capabilities import Capabilities
from omniopd.teachers.limits import Bucket
from omniopd.teachers.ways import Put, Way, put, read

log = logging.getLogger(__name__)

LEASE_MARGIN_S = 30.0  # beyond a call's own timeout, until what it held is thought abandoned
POLL_S = 0.05  # between looks at a reply that another process is buying
ATTENDANCE_S = 5.0  # between looks at how many processes ask the same teacher
BACKOFF_S = 0.5  # doubled with each failure, to LONGEST_PAUSE_S
BYTES_PER_TOKEN = 4  # about, of a prompt
MISSTATED = (
    "the server states no count of tokens, or one that cannot be; what is missing is booked at the most that was "
    "reserved for the call"
)
NO_REPLY = {
    ONLY_THINKING: "the teacher thought and wrote no answer; turn its thinking off in teacher.request",
    EMPTY: "the answer was cut before its first character",
    UNREADABLE: "an answer whose text cannot be read",
}


@dataclass(frozen=True)
class Conduct:
    """How much may be asked at once and in all, and how often in vain."""

    max_concurrency: int
    requests_per_minute: float | None
    tokens_per_minute: float | None
    timeout_s: float
    max_attempts: int
    budget: Budget
    offline: bool


class ApiTeacher:
    """Asks an API through litellm, and never twice for a reply that it has.

    The requests of one trajectory go out one after the other, shortest prefix first, so that a serving engine finds
    each in its prefix cache; trajectories go side by side. Usable from several threads, which share its limits.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        name: str,
        way: Way,
        capabilities: Capabilities,
        temperature: float,
        cache: ReplyCache,
        conduct: Conduct,
    ):
        self.name = name
        self.num_short_calls = 0  # that brought fewer replies than they were asked for
        self._complaints: set[str] = set()
        self._endpoint = endpoint
        self._way: Way = way
        self._capabilities = capabilities
        self._temperature = temperature
        self._cache = cache
        self._conduct = conduct
        self._client = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._slots = asyncio.Semaphore(conduct.max_concurrency)
        self._requests = Bucket(conduct.requests_per_minute)
        self._tokens = Bucket(conduct.tokens_per_minute)
        self._attended_at = -ATTENDANCE_S

    def answer(self, requests: Sequence[TeacherRequest]) -> list[TeacherAnswer]:
        """One answer a request; one that could not be had gives its reason in place of replies.

        Raises:
            BudgetError: the budget is reached. What was bought until then is kept.
            ConfigError: the API knows neither the key nor the model.
            TeacherError: offline, and a reply is not in the cache.
        """
        return loop.run(self._answer_all(requests))

    def close(self) -> None:
        """Leave its share of the limits to others, and let go of the cache."""
        self._cache.leave(self._client)
        self._cache.close()

    async def _answer_all(self, requests: Sequence[TeacherRequest]) -> list[TeacherAnswer]:
        chains: dict[str, list[int]] = {}
        for i, request in enumerate(requests):
            chains.setdefault(request.trajectory_id, []).append(i)
        answers: dict[int, TeacherAnswer] = {}
        stop = asyncio.Event()

        async def ask_in_turn(own: Sequence[int]) -> None:
            try:
                for i in own:
                    if stop.is_set():
                        return
                    answers[i] = await self._answer_one(requests[i])
            except BaseException:
                stop.set()  # those under way end as they will, and are kept; nothing more is asked
                raise

        ended = await asyncio.gather(*(ask_in_turn(own) for own in chains.values()), return_exceptions=True)
        for error in ended:
            if error is not None:
                raise error
        return [answers[i] for i in range(len(requests))]

    async def _answer_one(self, request: TeacherRequest) -> TeacherAnswer:
        asked = put(
            self._way, request.prompt, request.prefix,
            prefill=self._capabilities.prefill, strips=self._capabilities.strips,
            marks_cache=self._capabilities.marks_cache,
        )  # fmt: skip
        keys = [self._key(request, n) for n in range(request.num_replies)]
        found = self._cache.find(keys)
        reason = None
        if len(found) < len(keys):
            reason = await self._buy(request, asked, keys, found)
        if reason is not None:
            return TeacherAnswer.failed(reason, mode=self._way)
        return _assembled([found[key] for key in keys], self._way, asked, request.prefix)

    def _key(self, request: TeacherRequest, n: int) -> bytes:
        return reply_key(
            self.name, self._way, dict(self._endpoint.request), self._temperature_of(request), request.max_tokens,
            request.prompt, request.prefix, request.seed + n,
        )  # fmt: skip

    def _temperature_of(self, request: TeacherRequest) -> float:
        return self._temperature if request.temperature is None else request.temperature

    async def _buy(
        self, request: TeacherRequest, asked: Put, keys: Sequence[bytes], found: dict[bytes, Bought]
    ) -> str | None:
        """Buy what is missing into `found`; the reason where it cannot be had."""
        reason, num_vain = "", 0
        while missing := [n for n, key in enumerate(keys) if key not in found]:
            if self._conduct.offline:
                return self._noted(request, keys[missing[0]])
            own = missing[: self._capabilities.samples_per_call]
            # A server's seed names the stream of the first of the replies that one call brings.
            own = [n for n in own if n - own[0] == own.index(n)]
            try:
                await self._call(request, asked, [keys[n] for n in own], seed=request.seed + own[0])
                num_before, reason, wait_s = len(found), "fewer_replies", 0.0
                found |= self._cache.find([keys[n] for n in own])
                num_vain = 0 if len(found) > num_before else num_vain + 1
            except CallError as error:
                num_vain += 1
                self._complain(error)
                reason, wait_s = error.reason, error.retry_after_s or 0.0
                if error.fatal:
                    raise ConfigError(f"teacher.model: {self._endpoint.model}: {error}") from error
                if not error.passes:
                    num_vain = self._conduct.max_attempts
            if num_vain >= self._conduct.max_attempts:
                self._cache.note_failure(keys[missing[0]], reason)
                return reason
            if num_vain:
                await asyncio.sleep(max(wait_s, _backoff_s(num_vain)))
        return None

    def _complain(self, error: CallError) -> None:
        """Log the first of each kind of error in full; the records hold but a word."""
        if error.reason not in self._complaints:
            self._complaints.add(error.reason)
            log.warning("%s: %s: %s", self.name, error.reason, error)

    def _noted(self, request: TeacherRequest, key: bytes) -> str:
        reason = self._cache.failure(key)
        if reason is None:
            raise TeacherError(
                f"{request.id}: the cache has no reply of {self.name} to this request ({self._way}, "
                f"{request.num_replies} replies of {request.max_tokens} tokens), and teacher.offline is set; "
                "take the cache of the run that is to be repeated, or set teacher.offline: false"
            )
        return reason

    async def _call(self, request: TeacherRequest, asked: Put, keys: Sequence[bytes], *, seed: int) -> None:
        """Buy the replies of one call, unless another process does; returns when they are in the cache, or fewer."""
        max_tokens = len(keys) * (request.max_tokens + asked.extra_tokens)
        reserved = Reserved.of(asked.num_bytes, max_tokens)
        async with self._slots:
            self._attend()
            likely = asked.num_bytes // BYTES_PER_TOKEN + max_tokens
            await self._requests.take(1)
            await self._tokens.take(likely)
            used = 0
            try:
                if not await self._hold(keys[0], reserved):
                    return
                answer = await self._held_call(request, asked, keys, seed=seed, reserved=reserved)
                used = answer.usage.prompt_tokens + answer.usage.completion_tokens
                self._book(keys, answer)
            finally:
                self._tokens.give_back(likely - used)

    async def _held_call(
        self, request: TeacherRequest, asked: Put, keys: Sequence[bytes], *, seed: int, reserved: Reserved
    ) -> Answer:
        """One call's answer. Where it brings none, what was held for it is booked, or released if nothing is due."""
        try:
            return await call(
                self._endpoint, asked,
                num_replies=len(keys), max_tokens=request.max_tokens,
                temperature=self._temperature_of(request) if self._capabilities.takes_temperature else None,
                seed=seed % 2**31 if self._capabilities.takes_seed else None,
                timeout_s=self._conduct.timeout_s, reserved=reserved,
            )  # fmt: skip
        except CallError as error:
            if error.usage is None:
                self._cache.release(keys[0])
            else:
                self._cache.book(keys[0], [], teacher=self.name, way=self._way, usage=error.usage)
            raise
        except BaseException:
            self._cache.release(keys[0])
            raise

    def _book(self, keys: Sequence[bytes], answer: Answer) -> None:
        """Keep the replies that came whole, and what the call is booked at.

        Raises:
            CallError: none did.
        """
        whole = [(text, reason) for text, reason in answer.replies if reason in FINISHED][: len(keys)]
        replies = [(key, text, reason) for key, (text, reason) in zip(keys, whole, strict=False)]
        self.num_short_calls += len(whole) < len(keys)
        self._cache.book(keys[0], replies, teacher=self.name, way=self._way, usage=answer.usage)
        if answer.misstated:
            self._complain(CallError("usage", MISSTATED, passes=True))
        if not whole:
            reason = answer.replies[0][1]
            raise CallError(
                reason, NO_REPLY.get(reason, "an answer without a reply"), passes=reason == UNREADABLE
            )

    async def _hold(self, key: bytes, reserved: Reserved) -> bool:
        """Set aside the most that a call may cost; False where its reply came into the cache meanwhile."""
        prices = self._endpoint.prices
        cost = (
            max(prices.input, prices.cache_write) * reserved.prompt_tokens
            + prices.output * reserved.completion_tokens
        )
        lease_s = self._conduct.timeout_s + LEASE_MARGIN_S
        while not self._cache.hold(
            key,
            tokens=reserved.prompt_tokens + reserved.completion_tokens,
            cost_usd=cost,
            budget=self._conduct.budget,
            lease_s=lease_s,
        ):
            if self._cache.find([key]):
                return False
            await asyncio.sleep(POLL_S)
        return True

    def _attend(self) -> None:
        """Divide the limits with the processes that ask the same teacher now."""
        if self._conduct.requests_per_minute is None and self._conduct.tokens_per_minute is None:
            return
        now = time.monotonic()
        if now - self._attended_at >= ATTENDANCE_S:
            self._attended_at = now
            num_clients = self._cache.attend(self._client, teacher=self.name, lease_s=3 * ATTENDANCE_S)
            self._requests.divide(num_clients)
            self._tokens.divide(num_clients)


def _assembled(replies: Sequence[Bought], way: Way, asked: Put, prefix: str) -> TeacherAnswer:
    calls = {reply.call: reply.usage for reply in replies}.values()
    return TeacherAnswer(
        replies=[read(way, asked, prefix, reply.text) for reply in replies],
        finish_reasons=[reply.finish_reason for reply in replies],
        mode=way,
        prompt_tokens=sum(usage.prompt_tokens for usage in calls),
        completion_tokens=sum(usage.completion_tokens for usage in calls),
        cost_usd=sum(usage.cost_usd for usage in calls),
    )


def _backoff_s(num_vain: int) -> float:
    """Seconds before the next try: doubled each time, and jittered so that clients do not come back together."""
    return min(BACKOFF_S * 2 ** (num_vain - 1), LONGEST_PAUSE_S) * random.uniform(0.5, 1.0)
