"""Comparing expressions by math-verify, in processes of its own that live on from one comparison to the next.

A process is started when it is first needed, which takes a second or two, and ended and replaced where it overruns. The
processes belong to the one that started them: what is forked from that one starts its own, and they end with it.

Time is the processor's, so that what is found does not depend on what else the machine is doing.
"""

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from omniopd.errors import ProcessError
from omniopd.grading.math.expressions import is_readable

TIMEOUT_S = 5.0
WALL_FACTOR = 10  # a process may take so many times as long by the clock, where it has to share the processor
MEMORY_BYTES = 2**30
START_TIMEOUT_S = 120.0  # on a machine that is busy with much else
MAX_USES = 2_000  # of a process: sympy keeps some of what it has seen
MAX_PROCESSES = min(16, os.cpu_count() or 1)  # one a core
_OVERRUN = (-signal.SIGPROF, -signal.SIGALRM, -signal.SIGXCPU)  # how a process ends at its own limits
_WORKER = Path(__file__).with_name("symbolic_worker.py")


class Worker:
    """One process that compares. To be used by one thread at a time.

    Raises:
        ProcessError: it does not start.
    """

    def __init__(self, *, memory_bytes: int = MEMORY_BYTES) -> None:
        self.num_uses = 0
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-s", _WORKER],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={"PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,  # Ctrl-C is for the process that started it
        )  # fmt: skip
        try:
            self._send({"memory_bytes": memory_bytes})
            self.same("x", "x", timeout_s=START_TIMEOUT_S)
        except (OSError, TimeoutError) as error:
            self.end()
            raise ProcessError(
                "a process that compares expressions did not start; try "
                f"`{sys.executable} -c 'import math_verify'`, and whether {memory_bytes:,} bytes of memory are free"
            ) from error

    @property
    def pid(self) -> int:
        return self._process.pid

    def same(self, answer: str, reference: str, *, timeout_s: float) -> bool | None:
        """Whether they are equal; None where memory did not suffice to tell.

        Raises:
            TimeoutError: it takes more than timeout_s of the processor's time. It must be ended then.
            BrokenPipeError: the process has ended.
        """
        self.num_uses += 1
        wall_s = WALL_FACTOR * timeout_s
        limits = {"timeout_s": timeout_s, "wall_s": wall_s}
        self._send({"answer": answer, "reference": reference, **limits})
        return json.loads(self._line(time.monotonic() + wall_s))

    def end(self) -> None:
        """Kill it, and wait until it is gone."""
        self.kill()
        self._process.wait()
        self._close_pipes()

    def kill(self) -> None:
        """Kill it; who waits for its reply is told that it has ended."""
        self._process.kill()

    def forget(self) -> None:
        """Let go of it, in a forked child: it is no process of the child, which must not hold its pipes open."""
        self._process.returncode = 0
        self._close_pipes()

    def _close_pipes(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _send(self, message: dict[str, object]) -> None:
        assert self._process.stdin is not None
        line = (
            json.dumps(message).encode() + b"\n"
        )  # of less than PIPE_BUF bytes, so that it is written at once
        os.write(self._process.stdin.fileno(), line)

    def _line(self, until: float) -> bytes:
        assert self._process.stdout is not None
        number, line = self._process.stdout.fileno(), b""
        ready = select.poll()  # select() cannot watch what is numbered 1024 and beyond
        ready.register(number, select.POLLIN)
        while not line.endswith(b"\n"):
            if not ready.poll(max(0.0, until - time.monotonic()) * 1000):
                raise TimeoutError("a comparison took too long")
            if not (piece := os.read(number, 4096)):
                raise self._ended()
            line += piece
        return line

    def _ended(self) -> OSError:
        """What to raise where the process has ended in the middle of its work."""
        if self._process.wait() in _OVERRUN:
            return TimeoutError("a comparison took too long")
        return BrokenPipeError("a process that compares expressions has ended")


class Pool:
    """At most num_processes workers, for any number of threads."""

    def __init__(self, num_processes: int = MAX_PROCESSES) -> None:
        self._num_processes = num_processes
        self._reset()
        os.register_at_fork(after_in_child=self._forget)

    def same(self, answer: str, reference: str, *, timeout_s: float) -> bool:
        """Whether they are equal; False where a process runs out of memory over it, or ends at it twice.

        Raises:
            TimeoutError: it takes more than timeout_s of the processor's time.
            ProcessError: a process does not start.
        """
        with self._free:
            for _ in range(2):  # a process that was killed from outside is replaced
                worker = self._take()
                try:
                    found = worker.same(answer, reference, timeout_s=timeout_s)
                except BrokenPipeError:
                    self._end(worker)
                    continue
                except BaseException:  # its reply may come yet, and belongs to nothing
                    self._end(worker)
                    raise
                if found is None or worker.num_uses >= MAX_USES:
                    self._end(worker)
                else:
                    self._idle.append(worker)
                return bool(found)
        return False

    def pids(self) -> list[int]:
        """The processes that there are."""
        return [worker.pid for worker in list(self._workers)]

    def close(self) -> None:
        """End the processes. The pool can be used again, and starts new ones then."""
        while self._idle:
            self._end(self._idle.pop())
        for worker in list(self._workers):
            worker.kill()

    def _take(self) -> Worker:
        try:
            return self._idle.pop()
        except IndexError:
            worker = Worker()
            self._workers.append(worker)
            return worker

    def _end(self, worker: Worker) -> None:
        worker.end()
        self._workers.remove(worker)

    def _reset(self) -> None:
        self._workers: list[Worker] = []  # all of them
        self._idle: list[Worker] = []
        self._free = threading.BoundedSemaphore(self._num_processes)

    def _forget(self) -> None:
        """In a forked child: the processes are its parent's."""
        workers = self._workers
        self._reset()
        for worker in workers:
            worker.forget()


_POOL = Pool()
atexit.register(_POOL.close)


def same_expression(answer: str, reference: str, *, timeout_s: float = TIMEOUT_S) -> bool:
    """Whether two expressions in plain notation are equal; False where one of them is not to be read.

    Usable from threads. The reference is what math-verify calls gold.

    Raises:
        TimeoutError: it takes more than timeout_s of the processor's time.
        ProcessError: no process can be started.
    """
    if not is_readable(answer) or not is_readable(reference):
        return False
    return _POOL.same(answer, reference, timeout_s=timeout_s)
