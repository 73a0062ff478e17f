"""The Prefect server that flows run on: the project's own where `make server` started it, or else an embedded one."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.service import answers, running_server
from omniopd.errors import RunError

START_S = 120.0
# A server of one run: it starts no one's deployments, has no automations to trigger, and writes task states
# in batches, for its work is done on the cores that train. The user's own settings win.
SETTINGS = {
    "PREFECT_SERVER_UI_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
}
PR_SET_PDEATHSIG = 1  # linux/prctl.h


_EMBEDDED = "OMNIOPD_EMBEDDED_SERVER"


def is_embedded() -> bool:
    """Whether the flows of this process have a server to themselves."""
    return os.environ.get(_EMBEDDED) == os.environ.get("PREFECT_API_URL", "")


@contextmanager
def embedded_server(root: Path) -> Iterator[None]:
    """A Prefect server on loopback for the block, unless PREFECT_API_URL or `make server` in root name one already.

    Prefect starts one of its own accord, but that one outlives a process that is killed, and shares
    its process group, so that Ctrl-C reaches it before the flow has ended. This one does neither. It
    starts while the caller goes on importing; `wait_until_ready` waits for it.
    """
    if os.environ.get("PREFECT_API_URL"):
        yield
        return
    if url := running_server(root):
        os.environ["PREFECT_API_URL"] = url
        try:
            yield
        finally:
            del os.environ["PREFECT_API_URL"]
        return
    port = _free_port()
    os.environ["PREFECT_API_URL"] = os.environ[_EMBEDDED] = f"http://127.0.0.1:{port}/api"
    # Health is asked of loopback, never of a proxy.
    os.environ["NO_PROXY"] = ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1"]))
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app"),
            *("--host", "127.0.0.1", "--port", str(port), "--log-level", "error", "--lifespan", "on"),
        ],
        env={**SETTINGS, **os.environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,
    )
    try:
        yield
    finally:
        del os.environ["PREFECT_API_URL"], os.environ[_EMBEDDED]
        server.terminate()
        try:
            server.wait(timeout=5)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def wait_until_ready() -> None:
    """Return when the Prefect server answers.

    Raises:
        RunError: it does not within two minutes.
    """
    url = os.environ["PREFECT_API_URL"]
    if not answers(url, within_s=START_S):
        raise RunError(
            f"{url}: no Prefect server answers; is PREFECT_API_URL right, and can a server start here?"
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
