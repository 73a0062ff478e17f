"""The server that `make serve-demo` starts, for tests: on a port of its own, with a folder of its own."""

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from projects import REPOSITORY, Project

STARTED_WITHIN_S = 480  # the models are trained first


@dataclass(frozen=True)
class Served:
    """A running server, and the folder that it was started with."""

    origin: str  # its address, without /v1
    project: Project

    @property
    def teacher(self) -> Path:
        """The model that it serves."""
        return self.project.root / "teacher"


@contextmanager
def serving(folder: Path) -> Iterator[Served]:
    """The server, until the block ends."""
    port = _free_port()
    process = subprocess.Popen(
        [REPOSITORY / "scripts" / "serve-demo", folder, str(port)], start_new_session=True
    )
    served = Served(f"http://127.0.0.1:{port}", Project(folder))
    try:
        _wait_for(f"{served.origin}/health", process, folder / "server.log")
        yield served
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


def _wait_for(url: str, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + STARTED_WITHIN_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=5)
            return
        except (urllib.error.URLError, OSError):
            tail = log.read_text()[-3000:] if log.exists() else "no log"
            assert process.poll() is None, tail
            assert time.monotonic() < deadline, tail
            time.sleep(1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
