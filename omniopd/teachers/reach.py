"""Whether a teacher behind an API can be asked: its key, and one question."""

import time
from pathlib import Path

from omniopd.config import TeacherConfig
from omniopd.errors import TeacherError
from omniopd.teachers import loop
from omniopd.teachers.answers import Reserved
from omniopd.teachers.api import capabilities_of, endpoint_of
from omniopd.teachers.calls import CallError, absent_keys, call
from omniopd.teachers.ways import put

QUESTION = "1+1="
MOST_TOKENS = 16  # of the answer; some refuse to be asked for fewer


def missing_keys(config: TeacherConfig, *, root: Path) -> list[str]:
    """The variables of the vendor's keys that are set neither in the environment nor in root's .env.

    Raises:
        ConfigError: as `endpoint_of`.
    """
    endpoint = endpoint_of(config, root=root)
    return absent_keys(config.model) if endpoint.api_key is None else []


def reach(config: TeacherConfig, *, root: Path) -> str:
    """Ask one question, past the cache of replies; a sentence of how long that took, and what it was billed.

    Raises:
        ConfigError: as `endpoint_of`.
        TeacherError: no answer, and why.
    """
    endpoint, known = endpoint_of(config, root=root), capabilities_of(config)
    way = known.ways[0] if config.way == "auto" else config.way
    asked = put(way, QUESTION, "", prefill=known.prefill, strips=False, marks_cache=False)
    start = time.monotonic()
    question = call(
        endpoint, asked, num_replies=1, max_tokens=MOST_TOKENS, temperature=None, seed=None,
        timeout_s=config.timeout_s, reserved=Reserved.of(asked.num_bytes, MOST_TOKENS),
    )  # fmt: skip
    try:
        used = loop.run(question).usage
    except CallError as error:
        raise TeacherError(f"{config.model}: {error.reason}: {error}") from error
    finally:
        loop.close()
    return (
        f"a question took {time.monotonic() - start:.1f} s, {used.prompt_tokens} + {used.completion_tokens} tokens, "
        f"${used.cost_usd:.6f}"
    )
