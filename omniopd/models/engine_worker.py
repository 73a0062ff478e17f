"""Extends the workers of vLLM's engines, so that an engine ends when the process that started it does."""

import os
import signal
import threading
import time

from omniopd.data.processes import has_ended

POLL_S = 1.0


class EngineWorker:
    """Added to vLLM's worker by `worker_extension_cls`."""

    def end_with(self, pid: int, name: str) -> None:
        """End this worker and its engine when the process of that number and name has ended.

        An engine's processes watch each other, but not the process that started them.
        """
        engine = {os.getpid(), os.getppid()} - {pid}
        if os.getpid() != pid:
            threading.Thread(target=_end_with, args=(name, engine), daemon=True).start()


def _end_with(name: str, engine: set[int]) -> None:
    while not has_ended(name):
        time.sleep(POLL_S)
    for pid in sorted(engine, key=lambda pid: pid == os.getpid()):  # this one last
        os.kill(pid, signal.SIGKILL)
