"""A teacher behind an API: cached replies first, then calls within the budget and the rate limits."""

import asyncio
import logging
import os
import random
import time
import uuid
from collections import defaultdict
from collections.abc import Sequence

from omniopd.config import TeacherConfig
from omniopd.errors import ConfigError, TeacherError
from omniopd.teachers import loop
from omniopd.teachers.answers import EMPTY, FINISHED, ONLY_THINKING, UNREADABLE, Answer, Reserved
from omniopd.teachers.base import TeacherAnswer, TeacherRequest
from omniopd.teachers.cache import Budget, CachedReply, ReplyCache, reply_key
from omniopd.teachers.calls import MAX_PAUSE_S, CallError, Endpoint, call
from omniopd.teachers.capabilities import Capabilities
from omniopd.teachers.limits import Bucket
from omniopd.teachers.ways import Payload, Way, continuation, payload_of

log = logging.getLogger(__name__)

LEASE_MARGIN_S = 30.0  # beyond a call's own timeout, until its reservation counts as abandoned
POLL_S = 0.05  # between look-ups of a reply that another process is buying
SHARING_S = 5.0  # between counts of the processes that ask the same teacher
BACKOFF_S = 0.5  # doubled with each failure, to MAX_PAUSE_S
BYTES_PER_TOKEN = 4  # about, of a prompt
MISSTATED = (
    "the server states no count of tokens, or an impossible one; the maximum that was reserved for the call is booked "
    "in its place"
)
NO_REPLY = {
    ONLY_THINKING: "the teacher thought and wrote no answer; turn its thinking off in teacher.request",
    EMPTY: "the answer was cut before its first character",
    UNREADABLE: "an answer whose text cannot be read",
}


class ApiTeacher:
    """Asks an API through litellm, and never twice for a reply that is cached.

    The requests of one trajectory are sent one after the other, shortest prefix first, so that a serving engine has
    each in its prefix cache; trajectories are sent concurrently. Thread-safe; threads share its limits.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        config: TeacherConfig,
        *,
        way: Way,
        capabilities: Capabilities,
        cache: ReplyCache,
    ):
        self.name = config.model
        self.num_short_calls = 0  # that returned fewer replies than requested
        self._logged: set[str] = set()  # kinds of errors
        self._endpoint = endpoint
        self._way: Way = way
        self._capabilities = capabilities
        self._cache = cache
        self._config = config
        self._client = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._slots = asyncio.Semaphore(config.max_concurrency)
        self._requests = Bucket(config.requests_per_minute)
        self._tokens = Bucket(config.tokens_per_minute)
        self._shared_at = -SHARING_S

    def answer(self, requests: Sequence[TeacherRequest]) -> list[TeacherAnswer]:
        """One answer per request; a failed one has its reason in place of replies.

        Raises:
            BudgetError: the budget is exhausted. Replies bought until then are kept.
            ConfigError: the API rejects the key or the model.
            TeacherError: offline, and a reply is not in the cache.
        """
        return loop.run(self._answer_all(requests))

    def close(self) -> None:
        """Release its share of the rate limits, and close the cache."""
        self._cache.unregister(self._client)
        self._cache.close()

    async def _answer_all(self, requests: Sequence[TeacherRequest]) -> list[TeacherAnswer]:
        chains: dict[str, list[int]] = defaultdict(list)
        for i, request in enumerate(requests):
            chains[request.trajectory_id].append(i)
        answers: dict[int, TeacherAnswer] = {}
        stop = asyncio.Event()

        async def answer_chain(chain: Sequence[int]) -> None:
            try:
                for i in chain:
                    if stop.is_set():
                        return
                    answers[i] = await self._answer_one(requests[i])
            except BaseException:
                stop.set()  # calls under way finish and are kept; no others start
                raise

        outcomes = await asyncio.gather(*map(answer_chain, chains.values()), return_exceptions=True)
        for error in outcomes:
            if error is not None:
                raise error
        return [answers[i] for i in range(len(requests))]

    async def _answer_one(self, request: TeacherRequest) -> TeacherAnswer:
        payload = payload_of(
            self._way, request.messages, request.prefix,
            prefill=self._capabilities.prefill, strips=self._capabilities.strips,
            marks_cache=self._capabilities.marks_cache,
        )  # fmt: skip
        settings = (
            self.name, self._way, dict(self._endpoint.request), self._temperature_of(request), request.max_tokens,
        )  # fmt: skip
        history = [message.as_row() for message in request.history]
        keys = [
            reply_key(*settings, *history, request.prompt, request.prefix, request.seed + n)
            for n in range(request.num_replies)
        ]
        cached = self._cache.find(keys)
        if len(cached) < len(keys):
            failure = await self._buy(request, payload, keys, cached)
            if failure is not None:
                return TeacherAnswer.failed(failure, mode=self._way)
        replies = [cached[key] for key in keys]
        usages = {reply.call: reply.usage for reply in replies}.values()
        return TeacherAnswer(
            replies=[continuation(self._way, payload, request.prefix, reply.text) for reply in replies],
            finish_reasons=[reply.finish_reason for reply in replies],
            mode=self._way,
            prompt_tokens=sum(usage.prompt_tokens for usage in usages),
            completion_tokens=sum(usage.completion_tokens for usage in usages),
            cost_usd=sum(usage.cost_usd for usage in usages),
        )

    def _temperature_of(self, request: TeacherRequest) -> float:
        return self._config.temperature if request.temperature is None else request.temperature

    async def _buy(
        self,
        request: TeacherRequest,
        payload: Payload,
        keys: Sequence[bytes],
        cached: dict[bytes, CachedReply],
    ) -> str | None:
        """Add the missing replies to `cached`; returns the reason where that failed."""
        reason, num_failed = "", 0
        while missing := [n for n, key in enumerate(keys) if key not in cached]:
            if self._config.offline:
                return self._cached_failure(request, keys[missing[0]])
            batch = missing[: self._capabilities.samples_per_call]
            # A server's seed names the stream of the first of the replies of a call, so these must be consecutive.
            batch = [n for i, n in enumerate(batch) if n - batch[0] == i]
            batch_keys = [keys[n] for n in batch]
            try:
                await self._call(request, payload, batch_keys, seed=request.seed + batch[0])
                bought, reason, wait_s = self._cache.find(batch_keys), "fewer_replies", 0.0
                cached |= bought
                num_failed = 0 if bought else num_failed + 1
            except CallError as error:
                num_failed += 1
                self._log_once(error)
                reason, wait_s = error.reason, error.retry_after_s or 0.0
                if error.fatal:
                    raise ConfigError(f"teacher.model: {self._endpoint.model}: {error}") from error
                if not error.passes:
                    num_failed = self._config.max_attempts
            if num_failed >= self._config.max_attempts:
                self._cache.note_failure(keys[missing[0]], reason)
                return reason
            if num_failed:
                # Doubled each time, and jittered so that clients do not retry together.
                backoff_s = min(BACKOFF_S * 2 ** (num_failed - 1), MAX_PAUSE_S) * random.uniform(0.5, 1.0)
                await asyncio.sleep(max(wait_s, backoff_s))
        return None

    def _log_once(self, error: CallError) -> None:
        """Log the first of each kind of error in full; the records have just a word."""
        if error.reason not in self._logged:
            self._logged.add(error.reason)
            log.warning("%s: %s: %s", self.name, error.reason, error)

    def _cached_failure(self, request: TeacherRequest, key: bytes) -> str:
        reason = self._cache.failure(key)
        if reason is None:
            raise TeacherError(
                f"{request.id}: the cache has no reply of {self.name} to this request ({self._way}, "
                f"{request.num_replies} replies of {request.max_tokens} tokens), and teacher.offline is set; "
                "take the cache of the run that is to be repeated, or set teacher.offline: false"
            )
        return reason

    async def _call(
        self, request: TeacherRequest, payload: Payload, keys: Sequence[bytes], *, seed: int
    ) -> None:
        """Buy the replies of one call, unless another process does; they, or some of them, are then in the cache."""
        max_tokens = len(keys) * (request.max_tokens + payload.extra_tokens)
        reserved = Reserved(payload.num_bytes, max_tokens)
        async with self._slots:
            self._share_limits()
            estimated = payload.num_bytes // BYTES_PER_TOKEN + max_tokens
            await self._requests.take(1)
            await self._tokens.take(estimated)
            used = 0
            try:
                if not await self._reserve(keys[0], reserved):
                    return
                answer = await self._reserved_call(request, payload, keys, seed=seed, reserved=reserved)
                used = answer.usage.prompt_tokens + answer.usage.completion_tokens
                self._book(keys, answer)
            finally:
                self._tokens.give_back(estimated - used)

    async def _reserved_call(
        self,
        request: TeacherRequest,
        payload: Payload,
        keys: Sequence[bytes],
        *,
        seed: int,
        reserved: Reserved,
    ) -> Answer:
        """The answer of one call. If it fails, its usage is booked, or its reservation released if nothing is due."""
        try:
            return await call(
                self._endpoint, payload,
                num_replies=len(keys), max_tokens=request.max_tokens,
                temperature=self._temperature_of(request) if self._capabilities.takes_temperature else None,
                seed=seed % 2**31 if self._capabilities.takes_seed else None,
                timeout_s=self._config.timeout_s, reserved=reserved,
            )  # fmt: skip
        except BaseException as error:
            if isinstance(error, CallError) and error.usage is not None:
                self._cache.book(keys[0], [], teacher=self.name, way=self._way, usage=error.usage)
            else:
                self._cache.release(keys[0])
            raise

    def _book(self, keys: Sequence[bytes], answer: Answer) -> None:
        """Keep the complete replies, and book the cost of the call.

        Raises:
            CallError: no reply is complete.
        """
        whole = [(text, reason) for text, reason in answer.replies if reason in FINISHED][: len(keys)]
        replies = [(key, *reply) for key, reply in zip(keys, whole, strict=False)]
        self.num_short_calls += len(whole) < len(keys)
        self._cache.book(keys[0], replies, teacher=self.name, way=self._way, usage=answer.usage)
        if answer.misstated:
            self._log_once(CallError("usage", MISSTATED, passes=True))
        if not whole:
            reason = answer.replies[0][1]
            message = NO_REPLY.get(reason, "an answer without a reply")
            raise CallError(reason, message, passes=reason == UNREADABLE)

    async def _reserve(self, key: bytes, reserved: Reserved) -> bool:
        """Reserve the maximum cost of a call; False where another process bought its reply meanwhile."""
        most = reserved.usage(self._endpoint.prices)
        while not self._cache.reserve(
            key,
            tokens=most.prompt_tokens + most.completion_tokens,
            cost_usd=most.cost_usd,
            budget=Budget(self._config.budget_usd, self._config.budget_tokens),
            lease_s=self._config.timeout_s + LEASE_MARGIN_S,
        ):
            if self._cache.find([key]):
                return False
            await asyncio.sleep(POLL_S)
        return True

    def _share_limits(self) -> None:
        """Divide the rate limits by the number of processes that ask the same teacher now."""
        if self._config.requests_per_minute is None and self._config.tokens_per_minute is None:
            return
        now = time.monotonic()
        if now - self._shared_at >= SHARING_S:
            self._shared_at = now
            num_clients = self._cache.register(self._client, teacher=self.name, lease_s=3 * SHARING_S)
            self._requests.divide(num_clients)
            self._tokens.divide(num_clients)
