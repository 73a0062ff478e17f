"""Processes that compare expressions: limited, replaced where they end, and gone when their parent is."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from projects import REPOSITORY

from omniopd.errors import ProcessError
from omniopd.grading.math import symbolic
from omniopd.grading.math.equivalence import compare
from omniopd.grading.math.symbolic import Pool, Worker, same_expression

ENDLESS = ("9^{9^{9^{9}}}", "5")  # which same_expression would not hand on
HOUR = 3600


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """Of two processes at most; which of them run depends on what was tested before."""
    shared = Pool(num_processes=2)
    yield shared
    pids = _pids(shared)
    shared.close()
    assert _ended(pids)


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    shared = Worker()
    yield shared
    shared.end()


def _pids(pool: Pool) -> list[int]:
    return [worker.pid for worker in pool._workers]


def _ended(pids: list[int], within_s: float = 60) -> bool:
    return _becomes_true(lambda: not any(map(_runs, pids)), within_s)


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _becomes_true(condition: Callable[[], bool], within_s: float) -> bool:
    until = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize(
    ("answer", "reference", "is_same"),
    [
        ("2^{10}", "1024", True),
        ("x^{2}+2x+1", "(x+1)^{2}", True),
        ("y=2x+3", "2y=4x+6", True),
        ("x<3", "3>x", True),
        ("I", "i", True),
        ("X", "x", False),
        ("2^{10}", "1023", False),
        # math-verify alone takes these for equal: one differs by less than 1e-15, one is an equation.
        (r"\pi\cdot10^{-20}", r"2\pi\cdot10^{-20}", False),
        ("x=5", "5", False),
        (r"\sqrt{10^{40}+1}", "10^{20}", False),
        (r"10^{400}\pi+1", r"10^{400}\pi", False),
        (r"10^{5000}", r"10^{4999} \cdot 10", True),
        ("e^{-1000}", "e^{-2000}", False),
        (r"e^{-1000}", r"\frac{1}{e^{1000}}", True),
        (r"\sqrt{2}+\sqrt{3}", r"\sqrt{5+2\sqrt{6}}", True),
        (r"10^{-20}x", r"2\cdot 10^{-20}x", False),
        ("0.0", "e^{-50}", False),
        ("i^{2}", "-1", True),
        ("i^{2}", "i", False),
        # And these are no expressions.
        ("(1,2)", "(1,2)", False),
        (r"\{1\}", "1", False),
        ("1,2", "1,2", False),
        (r"\frac{1}{", "1", False),
        ("", "", False),
    ],
)
def test_expressions_and_relations_are_compared_and_nothing_else(
    worker: Worker, answer: str, reference: str, is_same
):
    assert worker.same(answer, reference, timeout_s=60) is is_same


def test_a_process_may_use_so_much_memory_no_file_and_no_environment(worker: Worker):
    process = psutil.Process(worker.pid)

    assert process.rlimit(psutil.RLIMIT_AS) == (symbolic.MEMORY_BYTES, symbolic.MEMORY_BYTES)
    assert process.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
    assert process.rlimit(psutil.RLIMIT_CPU)[0] < HOUR
    assert set(process.environ()) == {"PYTHONHASHSEED", "PYTHONPATH"}
    assert all(os.path.isabs(path) for path in process.environ()["PYTHONPATH"].split(os.pathsep))


def test_what_takes_more_memory_than_there_is_is_not_equal_and_ends_nothing(worker: Worker):
    pid = worker.pid
    began = time.process_time()

    assert not worker.same(r"\operatorname{zeros}(40000, 40000)", "x", timeout_s=60)
    assert worker.same("2^{3}", "8", timeout_s=60)
    assert worker.pid == pid
    assert time.process_time() - began < 60


def test_text_is_never_evaluated():
    code = (
        "import runpy, sys, sympy\n"
        "worker = runpy.run_path(sys.argv[1])\n"
        "assert sympy.sympify('__import__(\"os\").getpid()') > 1\n"
        "worker['_evaluate_nothing']()\n"
        "assert (sympy.Number('1.5'), sympy.Number('12'), sympy.sympify('x')) == (1.5, 12, sympy.Symbol('x'))\n"
        "for text in ['__import__(\"os\").getpid()', '(1).__class__', '1+1', 'x.y', 'lambda: 1']:\n"
        "    try: print(sympy.sympify(text))\n"
        "    except (sympy.SympifyError, ValueError): pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, symbolic._WORKER], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.parametrize(
    "text",
    [
        '__import__("os")',
        "x.__class__",
        "x;y",
        "`x`",
        r"\input{x}",
        "\\x\ny",
        "x" * 301,
        "{" * 13 + "x" + "}" * 13,
        "é",
        "((x)",
    ],
)
def test_no_process_gets_what_may_not_be_an_expression(monkeypatch, text: str):
    monkeypatch.setattr(symbolic._POOL, "same", lambda *_, **__: pytest.fail("it was handed on"))

    assert not same_expression(text, "x")
    assert not same_expression("x", text)


def test_no_process_is_started_where_form_decides(monkeypatch):
    monkeypatch.setattr(symbolic, "Worker", lambda: pytest.fail("it was started"))
    monkeypatch.setattr(symbolic, "_POOL", Pool())

    assert compare("1,080", "1080", same_expression)
    assert not compare("1 or 2", "2", same_expression)
    assert not compare(r"\sqrt{x}", "2", same_expression)


def test_what_overruns_is_ended_and_replaced(pool: Pool):
    assert pool.same("x", "x", timeout_s=60)
    before = _pids(pool)

    with pytest.raises(TimeoutError):
        pool.same(*ENDLESS, timeout_s=0.5)

    (ended,) = set(before) - set(_pids(pool))
    assert _ended([ended])
    assert pool.same("2^{10}", "1024", timeout_s=60)


def test_a_process_that_was_killed_is_replaced(pool: Pool):
    assert pool.same("x", "x", timeout_s=60)
    before = _pids(pool)
    for pid in before:
        os.kill(pid, signal.SIGKILL)

    assert pool.same("2^{10}", "1024", timeout_s=60)
    assert len(set(_pids(pool)) - set(before)) == 1


def test_many_threads_share_few_processes(pool: Pool):
    pairs = [(f"{n}^{{2}}", str(n * n + n % 2)) for n in range(2, 34)]
    with ThreadPoolExecutor(16) as threads:
        are_same = list(threads.map(lambda pair: pool.same(*pair, timeout_s=60), pairs))

    assert are_same == [n % 2 == 0 for n in range(2, 34)]
    assert 1 <= len(_pids(pool)) <= 2


def test_a_process_is_replaced_after_its_maximum_of_uses(monkeypatch, pool: Pool):
    assert pool.same("x", "x", timeout_s=60)
    before = _pids(pool)
    monkeypatch.setattr(symbolic, "MAX_USES", 1)
    assert pool.same("x", "x", timeout_s=60)

    assert len(_pids(pool)) == len(before) - 1


def test_a_fork_starts_its_own_workers_and_drops_those_of_its_parent():
    pool = Pool(1)
    assert pool.same("x", "x", timeout_s=60)
    (parents,) = _pids(pool)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, f"{_pids(pool)} {pool.same('2^{3}', '8', timeout_s=60)} {_pids(pool)[0]}".encode())
        signal.pause()
    os.close(writing)
    try:
        inherited, is_same, pid = os.read(reading, 100).decode().split()
        assert (inherited, is_same, int(pid) == parents) == ("[]", "True", False)
        assert pool.same("2^{3}", "8", timeout_s=60)

        pool._idle[0]._close_pipes()
        assert _ended([parents])  # though the child is there yet
        assert _runs(int(pid))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)
        pool.close()
    assert _ended([int(pid)])


PARENT = """
import sys, threading, time, types
package = sys.modules["omniopd.grading"] = types.ModuleType("omniopd.grading")
package.__path__ = [sys.argv[2]]  # without what the package imports: transformers takes seconds
from omniopd.grading.math.symbolic import _POOL, same_expression
assert same_expression("2^{3}", "8")
idle = _POOL._idle.pop()
assert _POOL.same("2^{3}", "8", timeout_s=60)
threading.Thread(target=lambda: _POOL.same("9^{9^{9^{9}}}", "5", timeout_s=4), daemon=True).start()
while _POOL._idle: time.sleep(0.01)
_POOL._idle.append(idle)
print(*(worker.pid for worker in _POOL._workers), flush=True)
if sys.argv[1] == "is killed":
    time.sleep(3600)
"""


@pytest.mark.slow
@pytest.mark.parametrize("end", ["is killed", "exits"])
def test_no_process_is_left_idle_or_at_work_when_its_parent_has_ended(end: str):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, end, symbolic._WORKER.parent.parent],
        env={"PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert parent.stdout is not None
    with parent:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        if end == "is killed":
            parent.kill()
        assert parent.wait(60) == (-signal.SIGKILL if end == "is killed" else 0)

    assert len(pids) == 2
    assert _ended(pids)


def test_an_error_names_what_to_try_if_no_worker_can_start():
    with pytest.raises(ProcessError, match="import math_verify.*4,194,304 bytes"):
        Worker(memory_bytes=2**22)
