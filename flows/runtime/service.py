"""`make server`: a Prefect server and a worker in the background, with their state in the project's directory.

.prefect/service.json names the processes in a way that no later process matches, so that stopping ends only them.
"""

import contextlib
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from flows.runtime.database import first_start
from omniopd.data.processes import has_ended, name_of
from omniopd.data.store import read_json, write_atomic, write_json
from omniopd.errors import DataError, RunError

POOL = "omniopd"
START_S = 120.0
END_S = 20.0
# Read by `prefect deployment run` and Prefect's other commands in this directory.
PREFECT_TOML = """# Written by `make server`, removed by `make server-stop`.
[api]
url = "{url}"
"""


def project_state(root: Path) -> dict[str, str]:
    """The environment that keeps Prefect's state in the project's directory, and its log lines off the screen.

    PREFECT_HOME does not move results and the memo store, so their paths are set too.
    """
    home = (root / ".prefect").resolve()
    return {
        "PREFECT_HOME": str(home),
        "PREFECT_RESULTS_LOCAL_STORAGE_PATH": str(home / "results"),
        "PREFECT_SERVER_MEMO_STORE_PATH": str(home / "memo_store.toml"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_LOGGING_LEVEL": "INFO",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "omniopd,flows",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",  # when a run continues without Prefect
        "DO_NOT_TRACK": "1",
    }


def running_server(root: Path) -> str | None:
    """The API of the server that `make server` started in this directory, if it still answers."""
    record = _record(root)
    if record and _process(record["server"]) is not None and answers(record["url"], within_s=5.0):
        return record["url"]
    return None


def start(root: Path, *, host: str, port: int) -> dict[str, Any]:
    """Start the server and the worker unless they run, and return their record: `url` and `ui` are addresses.

    Raises:
        RunError: the server or the worker did not start; their logs say why.
    """
    earlier = _record(root)
    with first_start(root) as others_may_start:
        server, url = _process(earlier.get("server")), earlier.get("url", "")
        if server is None:
            url = f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{port}/api"
            if answers(url, within_s=0.5):
                raise RunError(
                    f"{url}: something answers there already; give another port: make server PORT=4201"
                )
            server = _started(root, "server", ["server", "start", "--host", host, "--port", str(port)], url)
        record = {"url": url, "ui": url.removesuffix("/api"), "server": _identity(server)}
        write_json(_state(root, "service.json"), record)
        if not answers(url, within_s=START_S, process=server):
            stop(root)
            raise RunError(f"{url}: the Prefect server did not start; see {_state(root, 'server.log')}")
        others_may_start()
    toml = PREFECT_TOML.format(url=url)
    write_atomic(root / "prefect.toml", lambda partial: partial.write_text(toml, encoding="utf-8"))
    worker = _process(earlier.get("worker"))
    if worker is None:
        _deploy(root, url)
        worker = _started(root, "worker", ["worker", "start", "--pool", POOL, "--type", "process"], url)
    record["worker"] = _identity(worker)
    write_json(_state(root, "service.json"), record)
    return record


def stop(root: Path) -> list[str]:
    """End the processes that `start` started, with their children. Returns their names."""
    record, ended = _record(root), []
    for name in ("worker", "server"):
        if (process := _process(record.get(name))) is not None:
            _end_tree(process)
            ended.append(f"{name} (process {process.pid})")
    _state(root, "service.json").unlink(missing_ok=True)
    toml = root / "prefect.toml"
    if toml.exists() and toml.read_text(encoding="utf-8").startswith(PREFECT_TOML.splitlines()[0]):
        toml.unlink()
    return ended


def answers(url: str, *, within_s: float, process: psutil.Process | None = None) -> bool:
    """Whether a Prefect API answers at the address within that time; False at once when the process ends."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            if time.monotonic() >= deadline or (process is not None and not _runs(process)):
                return False
            time.sleep(0.1)


def _end_tree(process: psutil.Process) -> None:
    """Ask a process and all its children to end, and kill those that have not ended after END_S."""
    tree = [process]
    with contextlib.suppress(psutil.NoSuchProcess):
        tree += process.children(recursive=True)
    for member in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.terminate()
    _, left = psutil.wait_procs(tree, timeout=END_S)
    for member in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(left, timeout=5)


def _deploy(root: Path, url: str) -> None:
    """Create the work pool, the concurrency limit of GPU work, and the deployments of prefect.yaml."""
    import torch  # seconds

    _prefect(root, url, ["work-pool", "create", POOL, "--type", "process", "--overwrite"])
    _prefect(root, url, ["--no-prompt", "deploy", "--all"])
    if not _prefect(root, url, ["gcl", "inspect", "gpu"], may_fail=True):
        slots = max(1, torch.cuda.device_count())
        _prefect(root, url, ["gcl", "create", "gpu", "--limit", str(slots)])


def _prefect(root: Path, url: str, command: Sequence[str], *, may_fail: bool = False) -> bool:
    done = subprocess.run(
        [sys.executable, "-m", "prefect", *command],
        cwd=root, env=_environment(root, url), capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode and not may_fail:
        output = " ".join((done.stdout + done.stderr).split())[-400:]
        raise RunError(f"prefect {' '.join(command)}: failed ({output}); see {_state(root, 'server.log')}")
    return not done.returncode


def _started(root: Path, name: str, command: Sequence[str], url: str) -> psutil.Process:
    log = _state(root, f"{name}.log")
    log.parent.mkdir(exist_ok=True)
    with log.open("ab") as file:
        child = subprocess.Popen(
            [sys.executable, "-m", "prefect", *command],
            cwd=root, env=_environment(root, url), stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            start_new_session=True,
        )  # fmt: skip
    return psutil.Process(child.pid)


def _environment(root: Path, url: str) -> dict[str, str]:
    folder = str(root.resolve())
    path = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH", "")]))
    return {**project_state(root), **os.environ, "PREFECT_API_URL": url, "PYTHONPATH": path, "PWD": folder}


def _record(root: Path) -> dict[str, Any]:
    try:
        return read_json(_state(root, "service.json"))
    except DataError:
        return {}


def _state(root: Path, name: str) -> Path:
    return root / ".prefect" / name


def _identity(process: psutil.Process) -> dict[str, Any]:
    """A number that another process may get, and a name that none will."""
    return {"pid": process.pid, "name": name_of(process.pid)}


def _process(identity: dict[str, Any] | None) -> psutil.Process | None:
    """The process of that identity, if it still runs."""
    if identity is not None and not has_ended(identity["name"]):
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(identity["pid"])
            return process if _runs(process) else None
    return None


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
