"""Many requests to a server that fails one in five and restarts, killed half-way: nothing is paid for twice.

NUM_REQUESTS below, or as many as OMNIOPD_TEST_REQUESTS says (`make test-faults`: 10,000).
"""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from teacher_mind import worked_solution

from omniopd.teachers.cache import ReplyCache

pytestmark = pytest.mark.slow

NUM_REQUESTS = int(os.environ.get("OMNIOPD_TEST_REQUESTS", "1000"))
PER_TRAJECTORY, NUM_REPLIES, MAX_CONCURRENCY = 8, 2, 32
TESTS = Path(__file__).parent.parent

ASK = """
import json, sys
from dataclasses import asdict
from omniopd.config import TeacherConfig
from omniopd.teachers import TeacherRequest, loop
from omniopd.teachers.cache import ReplyCache
from omniopd.teachers.calls import Endpoint
from omniopd.teachers.capabilities import tabled
from omniopd.teachers import client
from omniopd.teachers.prices import Prices
from teacher_mind import worked_solution
from pathlib import Path

url, cache = sys.argv[1:3]
num_requests, per_trajectory, num_replies, max_concurrency = map(int, sys.argv[3:])
client.BACKOFF_S = 0.01
teacher = client.ApiTeacher(
    Endpoint("hosted_vllm/demo", base_url=url, api_key="k", prices=Prices(1e-6, 1e-6, 1e-6, 5e-6)),
    TeacherConfig(kind="api", max_concurrency=max_concurrency, timeout_s=4.0, max_attempts=8),
    way="completion", capabilities=tabled("hosted_vllm/demo", "http://own/v1"), cache=ReplyCache(Path(cache)),
)
requests = []
for i in range(num_requests):
    prompt = f"{1000 + i // per_trajectory}+5874="
    length = 3 * (i % per_trajectory)
    requests.append(TeacherRequest(
        f"t{i}", f"t{i // per_trajectory}", prompt, worked_solution(prompt)[:length], num_replies, 2, i * num_replies))
print("asking", flush=True)
answers = teacher.answer(requests)
print(json.dumps([asdict(answer) for answer in answers]))
loop.close()
"""


@dataclass(frozen=True)
class Server:
    url: str
    process: subprocess.Popen


@pytest.fixture
def server(tmp_path: Path):
    """A server in a process of its own, which its book outlives."""
    port_file = tmp_path / "port"
    process = subprocess.Popen(
        [
            sys.executable, TESTS / "teacher_server.py", "--port-file", port_file, "--book", tmp_path / "book",
            "--fault-share", "0.2", "--filter-share", "0.01", "--slow", "6", "--delay", "0.01",
        ]
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not port_file.exists():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        yield Server(f"http://127.0.0.1:{port_file.read_text()}/v1", process)
    finally:
        process.terminate()
        assert process.wait(timeout=20) == 0


def _ask(url: str, cache: Path) -> subprocess.Popen:
    arguments = [url, cache, NUM_REQUESTS, PER_TRAJECTORY, NUM_REPLIES, MAX_CONCURRENCY]
    return subprocess.Popen(
        [sys.executable, "-c", ASK, *map(str, arguments)],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS.parent}"},
    )  # fmt: skip


def _served(tmp_path: Path) -> list[dict]:
    return [json.loads(line) for line in (tmp_path / "book").read_text().splitlines()]


def _wait_until_served(count: int, tmp_path: Path, asking: subprocess.Popen) -> None:
    deadline = time.monotonic() + 600
    while not (tmp_path / "book").exists() or len(_served(tmp_path)) < count:
        assert time.monotonic() < deadline
        assert asking.poll() is None
        time.sleep(0.02)


def _cost(lines: list[dict]) -> float:
    return sum(1e-6 * line["prompt_tokens"] + 5e-6 * line["completion_tokens"] for line in lines)


@pytest.mark.timeout(1200)
def test_a_killed_run_of_many_requests_pays_for_nothing_twice(server: Server, tmp_path: Path):
    cache = tmp_path / "teacher.sqlite"
    first = _ask(server.url, cache)
    assert first.stdout is not None
    first.stdout.readline()
    _wait_until_served(NUM_REQUESTS // 2, tmp_path, first)
    first.send_signal(signal.SIGKILL)
    first.wait()
    first.stdout.close()
    time.sleep(0.5)  # what was under way is written in the book
    lost = len(_served(tmp_path)) - ReplyCache(cache).spent().num_calls
    assert 0 <= lost <= MAX_CONCURRENCY

    second = _ask(server.url, cache)
    _wait_until_served(NUM_REQUESTS * 3 // 4, tmp_path, second)
    server.process.send_signal(signal.SIGUSR1)  # restarts it: what is under way is dropped
    out, _ = second.communicate(timeout=1200)
    assert second.returncode == 0
    answers = json.loads(out.splitlines()[-1])
    assert len(answers) == NUM_REQUESTS
    for i, answer in enumerate(answers):
        prompt, start = f"{1000 + i // PER_TRAJECTORY}+5874=", 3 * (i % PER_TRAJECTORY)
        expected = worked_solution(prompt)[start : start + 2]
        assert answer["replies"] == [expected] * NUM_REPLIES or (
            answer["replies"] == [] and answer["failure"]
        )
    reasons = {answer["failure"] for answer in answers if answer["failure"]}
    assert "content_filter" in reasons
    assert sum(bool(answer["failure"]) for answer in answers) < 0.05 * NUM_REQUESTS

    lines, spent = _served(tmp_path), ReplyCache(cache).spent()
    num_dear = len(lines) - spent.num_calls
    assert lost <= num_dear <= lost + MAX_CONCURRENCY, (
        "all that was served is booked, but for what was in flight at the kill and at the restart"
    )
    most_a_call = max(_cost([line]) for line in lines)
    assert -1e-9 <= _cost(lines) - spent.cost_usd <= num_dear * most_a_call + 1e-9

    third = _ask(server.url, cache)
    repeated, _ = third.communicate(timeout=1200)
    again = json.loads(repeated.splitlines()[-1])
    answered = [i for i, answer in enumerate(answers) if not answer["failure"]]
    assert [again[i] for i in answered] == [answers[i] for i in answered]
    num_failed = NUM_REQUESTS - len(answered)
    assert len(_served(tmp_path)) - len(lines) <= num_failed * 8, "the failed alone are asked again"
