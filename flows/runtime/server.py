"""The Prefect server that flows run on: the one of `make server`, or else an embedded one."""

import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from flows.runtime.database import first_start
from flows.runtime.service import answers, running_server
from omniopd.data.disk import naming
from omniopd.data.processes import guarded
from omniopd.errors import RunError

START_S = 120.0
POLL_S = 0.5  # between two checks that the server of a run still runs
MAX_STARTS = 10
# For a server of one run: no deployments to schedule, no automations to trigger, and task states written in
# batches, because it shares the cores that train. The user's own settings win.
SETTINGS = {
    "PREFECT_SERVER_UI_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
}
_EMBEDDED = "OMNIOPD_EMBEDDED_SERVER"


def is_embedded() -> bool:
    """Whether the flows of this process have a server to themselves."""
    return os.environ.get(_EMBEDDED) == os.environ.get("PREFECT_API_URL", "")


@contextmanager
def embedded_server(root: Path) -> Iterator["EmbeddedServer | None"]:
    """A Prefect server on loopback for the block; None if PREFECT_API_URL or `make server` in root name one already.

    Prefect would start a server by itself, but that one outlives a killed process, and shares its process group, so
    that Ctrl-C reaches it before the flow has ended. This one starts while the caller imports; `wait_until_ready`
    waits for it.
    """
    if os.environ.get("PREFECT_API_URL"):
        yield None
        return
    if url := running_server(root):
        os.environ["PREFECT_API_URL"] = url
        try:
            yield None
        finally:
            del os.environ["PREFECT_API_URL"]
        return
    with naming(root / ".prefect"):  # the server's own errors do not say that the disk is full
        (root / ".prefect").mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=root / ".prefect").close()
    with first_start(root) as others_may_start:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        os.environ["PREFECT_API_URL"] = os.environ[_EMBEDDED] = f"http://127.0.0.1:{port}/api"
        # Requests to loopback must not go through a proxy.
        os.environ["NO_PROXY"] = ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1"]))
        server = EmbeddedServer(port, others_may_start)
        try:
            yield server
        finally:
            del os.environ["PREFECT_API_URL"], os.environ[_EMBEDDED]
            server.end()


class EmbeddedServer:
    """A server on a port of loopback, restarted if it ends after it has answered.

    A flow waits for a restart: Prefect's client retries for about a minute.
    """

    def __init__(self, port: int, when_it_answers: Callable[[], None]):
        self._port = port
        self._when_it_answers = when_it_answers
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  # closed by end
        self._process = self._start()
        self._ending = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def wait(self, url: str) -> None:
        """Return when it answers; see `wait_until_ready`."""
        if not answers(url, within_s=START_S, process=psutil.Process(self._process.pid)):
            raise RunError(
                f"the Prefect server of this run does not start ({self._reason()}); fix that, and try again"
            )
        self._when_it_answers()
        self._watcher.start()

    def end(self) -> None:
        """End it, and do not restart it."""
        self._ending.set()
        if self._watcher.ident is not None:
            self._watcher.join()
        self._process.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._output.close()

    def _reason(self) -> str:
        """The last error that it printed."""
        self._output.seek(0)
        printed = self._output.read().decode(errors="replace").splitlines()
        lines = list(filter(None, map(str.strip, printed)))
        errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception): ", line)]
        return (errors or lines or [f"it ended with status {self._process.poll()}"])[-1][-300:]

    def _watch(self) -> None:
        num_starts = 1
        while not self._ending.wait(POLL_S):  # until the end: a process ends with the thread that started it
            if self._process.poll() is not None and num_starts < MAX_STARTS:
                self._process = self._start()
                num_starts += 1

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            guarded(
                "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app", "--host", "127.0.0.1",
                "--port", str(self._port), "--log-level", "error", "--lifespan", "on", by=signal.SIGTERM,
            ),
            env={**SETTINGS, **os.environ},
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            start_new_session=True,
        )  # fmt: skip


def wait_until_ready(server: EmbeddedServer | None) -> None:
    """Return when the Prefect server answers: the embedded one, or the one that PREFECT_API_URL names.

    Raises:
        RunError: it does not answer within two minutes, or has ended.
    """
    url = os.environ["PREFECT_API_URL"]
    if server is not None:
        server.wait(url)
    elif not answers(url, within_s=START_S):
        raise RunError(
            f"{url}: no Prefect server answers; is PREFECT_API_URL right, and can a server start here?"
        )
