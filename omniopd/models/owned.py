"""What the workers of an engine are taught by the process that starts it: to end when it has, however it did."""

import os
import signal
import threading
import time

from omniopd.data.processes import has_ended

LOOK_S = 1.0  # between looks at the process that an engine works for


class OwnedWorker:
    """What `worker_extension_cls` adds to the worker of an engine that is to live no longer than its owner."""

    def end_with(self, pid: int, name: str) -> None:
        """Have this worker and its engine end when the process of that number and name has.

        An engine's own processes look for the end of each other, and not for that of the process that started them.
        """
        engine = {os.getpid(), os.getppid()} - {pid}
        if os.getpid() != pid:
            threading.Thread(target=_end_with, args=(name, engine), daemon=True).start()


def _end_with(name: str, engine: set[int]) -> None:
    while not has_ended(name):
        time.sleep(LOOK_S)
    for pid in sorted(engine, key=lambda pid: pid == os.getpid()):  # this one last
        os.kill(pid, signal.SIGKILL)
