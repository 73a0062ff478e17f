"""From params.yaml to a teacher behind an API."""

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from dotenv import load_dotenv

from omniopd.config import TeacherConfig
from omniopd.errors import ConfigError
from omniopd.teachers.cache import Budget, ReplyCache
from omniopd.teachers.calls import Endpoint
from omniopd.teachers.capabilities import Capabilities, tabled, tabled_prices
from omniopd.teachers.client import ApiTeacher, Conduct
from omniopd.teachers.prices import Prices
from omniopd.teachers.probe import NUM_PROMPTS, Found, probe

NO_KEY = "none"  # what a server of the user's own is given where it asks for none
MILLION = 1e6


def api_teacher(config: TeacherConfig, found: Found, *, root: Path) -> ApiTeacher:
    """The teacher, asked in the way that was found to work. Paths in params and .env are looked for in root.

    Raises:
        ConfigError: no vendor is named, its key is not to be found, or a budget in dollars has no prices.
        DataError: the cache cannot be used.
    """
    return ApiTeacher(
        endpoint_of(config, root=root),
        name=config.model,
        way=found.way,
        capabilities=found.capabilities,
        temperature=config.temperature,
        cache=ReplyCache(root / config.cache),
        conduct=_conduct(config),
    )


def find_way(
    config: TeacherConfig, prompts: Sequence[str], *, tokens_of: Callable[[str], Sequence[int]], root: Path
) -> Found:
    """What a probe finds: the way to ask, and what the API can do. Its replies are bought like any other.

    tokens_of: a text as tokens of the student.

    Raises:
        ConfigError: as api_teacher; or the API knows neither the key nor the model.
        TeacherError: no way works, or not the one that params name.
    """
    known = capabilities_of(config)
    ways = known.ways if config.way == "auto" else (config.way,)
    with ExitStack() as opened:

        def teacher_of(found: Found) -> ApiTeacher:
            return opened.enter_context(closing(api_teacher(config, found, root=root)))

        return probe(
            prompts[:NUM_PROMPTS], ways=ways, capabilities=known, teacher_of=teacher_of, tokens_of=tokens_of
        )


def endpoint_of(config: TeacherConfig, *, root: Path) -> Endpoint:
    """Where params say that the teacher is asked, with its key and its prices.

    Raises:
        ConfigError: see api_teacher.
    """
    load_dotenv(root / ".env")
    known = _prices(config)
    if known is None and config.budget_usd is not None:
        raise ConfigError(
            f"teacher.budget_usd: no price of {config.model} is known; give teacher.prices, such as "
            "{ input: 1.0, output: 5.0 } (dollars per million tokens), or limit budget_tokens"
        )
    return Endpoint(
        model=config.model,
        base_url=config.base_url,
        api_key=_key(config),
        request=config.request,
        prices=known or Prices(),
    )


def capabilities_of(config: TeacherConfig) -> Capabilities:
    """What the tables say of the teacher.

    Raises:
        ConfigError: they know no such vendor.
    """
    return tabled(config.model, has_base_url=config.base_url is not None)


def _prices(config: TeacherConfig) -> Prices | None:
    given = config.prices
    if given is None:
        return tabled_prices(config.model)
    cached = given.input if given.cached_input is None else given.cached_input
    written = given.input if given.cache_write is None else given.cache_write
    return Prices(given.input / MILLION, cached / MILLION, written / MILLION, given.output / MILLION)


def _key(config: TeacherConfig) -> str | None:
    """The key that params name; None leaves the vendor's usual variable to litellm."""
    if config.offline:
        return NO_KEY
    if config.api_key_env is not None:
        if config.api_key_env not in os.environ:
            raise ConfigError(
                f"teacher.api_key_env: {config.api_key_env} is set neither in the environment nor in .env; "
                "put the key there"
            )
        return os.environ[config.api_key_env]
    return NO_KEY if config.base_url is not None else None


def _conduct(config: TeacherConfig) -> Conduct:
    return Conduct(
        max_concurrency=config.max_concurrency,
        requests_per_minute=config.requests_per_minute,
        tokens_per_minute=config.tokens_per_minute,
        timeout_s=config.timeout_s,
        max_attempts=config.max_attempts,
        budget=Budget(config.budget_usd, config.budget_tokens),
        offline=config.offline,
    )
