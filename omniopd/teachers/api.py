"""From params.yaml to a teacher behind an API: its endpoint and key, a test call, the probe, and the client."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from dotenv import load_dotenv

from omniopd.config import TeacherConfig
from omniopd.data.conversation import Conversation, conversation
from omniopd.errors import ConfigError, TeacherError
from omniopd.teachers import loop
from omniopd.teachers.answers import Reserved
from omniopd.teachers.cache import ReplyCache
from omniopd.teachers.calls import CallError, Endpoint, call, litellm, merged
from omniopd.teachers.capabilities import tabled, tabled_prices
from omniopd.teachers.client import ApiTeacher
from omniopd.teachers.prices import Prices
from omniopd.teachers.probe import NUM_PROMPTS, ProbeResult, probe
from omniopd.teachers.ways import payload_of

NO_KEY = "none"  # sent to a server of the user's own that needs no key
MILLION = 1e6
QUESTION_MAX_TOKENS = 16  # some APIs refuse fewer


def api_teacher(config: TeacherConfig, probed: ProbeResult, *, root: Path) -> ApiTeacher:
    """The teacher, asked in the way that the probe chose. Paths in params and .env are relative to root.

    Raises:
        ConfigError: the vendor is unknown, its key is missing, or a budget in dollars has no prices.
        DataError: the cache cannot be used.
    """
    return ApiTeacher(
        endpoint_of(config, root=root),
        config,
        way=probed.way,
        capabilities=probed.capabilities,
        cache=ReplyCache(root / config.cache),
    )


def probe_api(
    config: TeacherConfig,
    prompts: Sequence[Conversation],
    *,
    tokens_of: Callable[[str], Sequence[int]],
    root: Path,
) -> ProbeResult:
    """The way to ask, and what the API supports. The calls of the probe are cached and billed like any other.

    tokens_of: a text as tokens of the student.

    Raises:
        ConfigError: as api_teacher; or the API rejects the key or the model.
        TeacherError: no way works, or not the one that params name.
    """
    known = tabled(config.model, config.base_url)
    ways = known.ways if config.way == "auto" else (config.way,)
    with ExitStack() as opened:

        def teacher_of(result: ProbeResult) -> ApiTeacher:
            return opened.enter_context(closing(api_teacher(config, result, root=root)))

        return probe(
            prompts[:NUM_PROMPTS], ways=ways, capabilities=known, teacher_of=teacher_of, tokens_of=tokens_of
        )


def endpoint_of(config: TeacherConfig, *, root: Path) -> Endpoint:
    """The address of the teacher, with its key and its prices.

    Raises:
        ConfigError: see api_teacher.
    """
    load_dotenv(root / ".env")
    prices = tabled_prices(config.model)
    if given := config.prices:  # dollars per million tokens
        cached = given.input if given.cached_input is None else given.cached_input
        written = given.input if given.cache_write is None else given.cache_write
        prices = Prices(given.input / MILLION, cached / MILLION, written / MILLION, given.output / MILLION)
    if prices is None and config.budget_usd is not None:
        raise ConfigError(
            f"teacher.budget_usd: no price of {config.model} is known; give teacher.prices, such as "
            "{ input: 1.0, output: 5.0 } (dollars per million tokens), or limit budget_tokens"
        )
    request = config.request
    if config.chat_template_kwargs:
        if config.base_url is None:
            raise ConfigError(
                "teacher.chat_template_kwargs: a vendor's API takes no settings of a chat template; set base_url if "
                "the server is yours, or use the vendor's setting in teacher.request, such as reasoning_effort"
            )
        request = merged(request, {"extra_body": {"chat_template_kwargs": config.chat_template_kwargs}})
    return Endpoint(
        model=config.model,
        base_url=config.base_url,
        api_key=_key(config),
        request=request,
        prices=prices or Prices(),
    )


def missing_keys(config: TeacherConfig, *, root: Path) -> list[str]:
    """The variables of the vendor's keys that are set neither in the environment nor in root's .env.

    Raises:
        ConfigError: as `endpoint_of`.
    """
    if endpoint_of(config, root=root).api_key is not None:
        return []
    return list(litellm.validate_environment(config.model)["missing_keys"])


def ask_question(config: TeacherConfig, *, root: Path) -> str:
    """Ask one question, bypassing the cache of replies. Returns how long it took and what was billed, as a sentence.

    Raises:
        ConfigError: as `endpoint_of`.
        TeacherError: there was no answer; the message says why.
    """
    endpoint, known = endpoint_of(config, root=root), tabled(config.model, config.base_url)
    way = known.ways[0] if config.way == "auto" else config.way
    payload = payload_of(
        way, conversation("1+1="), "", prefill=known.prefill, strips=False, marks_cache=False
    )
    question = call(
        endpoint, payload, num_replies=1, max_tokens=QUESTION_MAX_TOKENS, temperature=None, seed=None,
        timeout_s=config.timeout_s, reserved=Reserved(payload.num_bytes, QUESTION_MAX_TOKENS),
    )  # fmt: skip
    start = time.monotonic()
    try:
        usage = loop.run(question).usage
    except CallError as error:
        raise TeacherError(f"{config.model}: {error.reason}: {error}") from error
    finally:
        loop.close()
    return (
        f"a question took {time.monotonic() - start:.1f} s, {usage.prompt_tokens} + {usage.completion_tokens} tokens, "
        f"${usage.cost_usd:.6f}"
    )


def _key(config: TeacherConfig) -> str | None:
    """The key that params name; None leaves the vendor's usual variable to litellm."""
    if config.offline:
        return NO_KEY
    if config.api_key_env is None:
        return None if config.base_url is None else NO_KEY
    if config.api_key_env not in os.environ:
        raise ConfigError(
            f"teacher.api_key_env: {config.api_key_env} is set neither in the environment nor in .env; "
            "put the key there"
        )
    return os.environ[config.api_key_env]
