"""Comparison of expressions by math-verify, in long-lived worker processes.

A worker starts when it is first needed, which takes a second or two, and is replaced if it exceeds a limit. Workers
belong to the process that started them: they end with it, and a fork of it starts its own.

Limits are in processor time, so that results do not depend on the load of the machine.
"""

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, cast

from omniopd.errors import ProcessError
from omniopd.grading.math.expressions import is_readable

TIMEOUT_S = 5.0
WALL_FACTOR = 10  # limit of wall time, as a multiple of that of processor time
MEMORY_BYTES = 2**30
START_TIMEOUT_S = 120.0  # on a busy machine
MAX_USES = 2_000  # per process, as sympy keeps some memory
MAX_PROCESSES = min(16, os.cpu_count() or 1)  # one per core
_OVERRUN = (-signal.SIGPROF, -signal.SIGALRM, -signal.SIGXCPU)  # how a worker ends at its limits
_WORKER = Path(__file__).with_name("symbolic_worker.py")


class Worker:
    """One worker process, for one thread at a time.

    Raises:
        ProcessError: it does not start.
    """

    def __init__(self, *, memory_bytes: int = MEMORY_BYTES) -> None:
        self.num_uses = 0
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-s", _WORKER],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={"PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,  # so that Ctrl-C does not reach it
        )  # fmt: skip
        self._pipes = cast(IO[bytes], self._process.stdin), cast(IO[bytes], self._process.stdout)
        self.pid = self._process.pid
        try:
            self._send({"memory_bytes": memory_bytes})
            self.same("x", "x", timeout_s=START_TIMEOUT_S)
        except (OSError, TimeoutError) as error:
            self.end()
            raise ProcessError(
                f"a process that compares expressions did not start; check that `{sys.executable} -c 'import "
                f"math_verify'` works and that {memory_bytes:,} bytes of memory are free"
            ) from error

    def same(self, answer: str, reference: str, *, timeout_s: float) -> bool | None:
        """Whether the two are equal; None if the worker ran out of memory.

        Raises:
            TimeoutError: it took more than timeout_s seconds of processor time; the worker must then be ended.
            BrokenPipeError: the worker has ended.
        """
        self.num_uses += 1
        wall_s = WALL_FACTOR * timeout_s
        self._send({"answer": answer, "reference": reference, "timeout_s": timeout_s, "wall_s": wall_s})
        return json.loads(self._line(wall_s))

    def end(self) -> None:
        """Kill the worker and wait until it is gone."""
        self.kill()
        self._process.wait()
        self._close_pipes()

    def kill(self) -> None:
        """Kill the worker; a thread that waits for its reply gets a BrokenPipeError."""
        self._process.kill()

    def forget(self) -> None:
        """Drop the worker in a forked child: it belongs to the parent, and its pipes must not stay open here."""
        self._process.returncode = 0
        self._close_pipes()

    def _close_pipes(self) -> None:
        for pipe in self._pipes:
            pipe.close()

    def _send(self, message: dict[str, object]) -> None:
        # Less than PIPE_BUF bytes, so the write is atomic.
        os.write(self._pipes[0].fileno(), json.dumps(message).encode() + b"\n")

    def _line(self, within_s: float) -> bytes:
        poll = select.poll()  # select() cannot watch descriptors from 1024 on
        poll.register(self._pipes[1], select.POLLIN)
        if not poll.poll(within_s * 1000):
            raise TimeoutError("a comparison took too long")
        if line := os.read(self._pipes[1].fileno(), select.PIPE_BUF):  # all of it, as it was written at once
            return line
        if self._process.wait() in _OVERRUN:
            raise TimeoutError("a comparison took too long")
        raise BrokenPipeError("a process that compares expressions has ended")


class Pool:
    """At most num_processes workers, shared by any number of threads."""

    def __init__(self, num_processes: int = MAX_PROCESSES) -> None:
        self._num_processes = num_processes
        self._reset()
        os.register_at_fork(after_in_child=self._forget)

    def same(self, answer: str, reference: str, *, timeout_s: float) -> bool:
        """Whether the two are equal; False if a worker runs out of memory, or two workers end.

        Raises:
            TimeoutError: it takes more than timeout_s seconds of processor time.
            ProcessError: a worker does not start.
        """
        with self._free:
            for _ in range(2):  # a worker that was killed from outside is replaced
                worker = self._take()
                is_usable = False
                try:
                    is_same = worker.same(answer, reference, timeout_s=timeout_s)
                    is_usable = is_same is not None and worker.num_uses < MAX_USES
                    return bool(is_same)
                except BrokenPipeError:
                    continue
                finally:  # after an exception, its reply may still come
                    if is_usable:
                        self._idle.append(worker)
                    else:
                        self._end(worker)
        return False

    def close(self) -> None:
        """End the workers. The pool stays usable and starts new ones."""
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
        """In a forked child: drop the parent's workers."""
        workers = self._workers
        self._reset()
        for worker in workers:
            worker.forget()


_POOL = Pool()
atexit.register(_POOL.close)


def same_expression(answer: str, reference: str, *, timeout_s: float = TIMEOUT_S) -> bool:
    """Whether two expressions in plain notation are equal; False if one of them is not readable.

    Thread-safe. The reference is math-verify's `gold`.

    Raises:
        TimeoutError: it takes more than timeout_s seconds of processor time.
        ProcessError: no worker can be started.
    """
    if not is_readable(answer) or not is_readable(reference):
        return False
    return _POOL.same(answer, reference, timeout_s=timeout_s)
