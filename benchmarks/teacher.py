"""Requests per second of a teacher behind an API, against plain litellm calls, and replies read from the cache."""

import asyncio
import itertools
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.figure import Figure, alternating
from omniopd.config import TeacherConfig
from omniopd.teachers import TeacherRequest, loop
from omniopd.teachers.cache import ReplyCache
from omniopd.teachers.calls import Endpoint, litellm
from omniopd.teachers.capabilities import tabled
from omniopd.teachers.client import ApiTeacher

SERVER = Path(__file__).parent.parent / "tests" / "teacher_server.py"
MODEL, NUM_REQUESTS, CONCURRENCY, ROUNDS = "hosted_vllm/demo", 400, 32, 7


def figures() -> list[Figure]:
    """Against a server in another process that answers at once."""
    numbers = itertools.count()
    # A bare call leaves its connection open, of which asyncio would tell hundreds of times.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder, _server(Path(folder)) as url:
        teacher = _teacher(url, Path(folder) / "cache.sqlite")

        def fresh() -> int:
            return len(teacher.answer([_request(next(numbers)) for _ in range(NUM_REQUESTS)]))

        def bare() -> int:
            return loop.run(_bare(url, [_request(next(numbers)) for _ in range(NUM_REQUESTS)]))

        asked, bare_rate = alternating(fresh, bare, rounds=ROUNDS)
        known = [_request(n) for n in range(NUM_REQUESTS)]
        teacher.answer(known)
        cached, _ = alternating(lambda: len(teacher.answer(known)), lambda: 1, rounds=ROUNDS)
        teacher.close()
        loop.close()
    return [
        Figure("requests to a server", "1/s", asked, "bare litellm calls", bare_rate),
        Figure("requests answered from the cache", "1/s", cached, "bare litellm calls", bare_rate),
    ]


def _request(n: int) -> TeacherRequest:
    a, b = 1000 + n // 9000 % 9000, 1000 + n % 9000
    return TeacherRequest(f"r{n}", f"r{n}", f"{a}+{b}=", "", 1, 2, n)


async def _bare(url: str, requests: list[TeacherRequest]) -> int:
    slots = asyncio.Semaphore(CONCURRENCY)

    async def ask(request: TeacherRequest) -> str:
        async with slots:
            answer = await litellm.atext_completion(
                model="text-completion-openai/demo", prompt=request.prompt, max_tokens=2, temperature=1.0,
                seed=request.seed, api_base=url, api_key="none", timeout=60.0, max_retries=0, num_retries=0,
            )  # fmt: skip
            return answer.choices[0].text

    return len(await asyncio.gather(*(ask(request) for request in requests)))


def _teacher(url: str, cache: Path) -> ApiTeacher:
    return ApiTeacher(
        Endpoint(MODEL, base_url=url, api_key="none"),
        TeacherConfig(kind="api", model=MODEL, max_concurrency=CONCURRENCY, timeout_s=60.0, max_attempts=1),
        way="completion",
        capabilities=tabled(MODEL, has_base_url=True),
        cache=ReplyCache(cache),
    )


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    port_file = folder / "port"
    process = subprocess.Popen([sys.executable, SERVER, "--port-file", port_file])
    try:
        while not port_file.exists():
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port_file.read_text()}/v1"
    finally:
        process.terminate()
        process.wait(timeout=20)
