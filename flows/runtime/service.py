"""`make server`: a Prefect server and a worker in the background, their state inside the project's folder.

What was started stands in .prefect/service.json, by names that no later process has, so that stopping ends those and no
others.
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

from omniopd.data.processes import has_ended, name_of
from omniopd.data.store import read_json, write_atomic, write_json
from omniopd.errors import DataError, RunError

POOL = "omniopd"
START_S = 120.0
END_S = 20.0
# What `prefect deployment run` and the other commands of Prefect read in this folder.
PREFECT_TOML = """# Written by `make server`, removed by `make server-stop`.
[api]
url = "{url}"
"""


def running_server(root: Path) -> str | None:
    """The API of the server that `make server` started in this folder, where it still runs and answers."""
    found = _record(root)
    if not found or _process(found["server"]) is None or not answers(found["url"], within_s=5.0):
        return None
    return found["url"]


def start(root: Path, *, host: str, port: int) -> dict[str, Any]:
    """Start what does not run yet, and return the record of it: `url` and `ui` are addresses.

    Raises:
        RunError: the server or the worker did not start; their logs say why.
    """
    found = _record(root)
    url = f"http://{_reached_at(host)}:{port}/api"
    server = _process(found.get("server"))
    if server is None:
        if answers(url, within_s=0.5):
            raise RunError(
                f"{url}: something answers there already; give another port: make server PORT=4201"
            )
        server = _started(root, "server", ["server", "start", "--host", host, "--port", str(port)], url)
    else:
        url = found["url"]
    record = {"url": url, "ui": url.removesuffix("/api"), "server": _identity(server)}
    write_json(_file(root), record)
    if not answers(url, within_s=START_S, process=server):
        stop(root)
        raise RunError(f"{url}: the Prefect server did not start; see {_log(root, 'server')}")
    _write_text(root / "prefect.toml", PREFECT_TOML.format(url=url))
    worker = _process(found.get("worker"))
    if worker is None:
        _prepare(root, url)
        worker = _started(root, "worker", ["worker", "start", "--pool", POOL, "--type", "process"], url)
    record["worker"] = _identity(worker)
    write_json(_file(root), record)
    return record


def stop(root: Path) -> list[str]:
    """End what `start` started, and what that started; say what it was."""
    found, ended = _record(root), []
    for name in ("worker", "server"):
        process = _process(found.get(name))
        if process is not None:
            end_tree(process, within_s=END_S)
            ended.append(f"{name} (process {process.pid})")
    _file(root).unlink(missing_ok=True)
    toml = root / "prefect.toml"
    if toml.exists() and toml.read_text(encoding="utf-8").startswith(PREFECT_TOML.splitlines()[0]):
        toml.unlink()
    return ended


def answers(url: str, *, within_s: float, process: psutil.Process | None = None) -> bool:
    """Whether a Prefect API answers at the address within that time, unless the process ends before."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            if time.monotonic() >= deadline or (process is not None and not _runs(process)):
                return False
            time.sleep(0.1)


def end_tree(process: psutil.Process, *, within_s: float) -> None:
    """Ask a process and all that it started to end, and kill what has not within that time."""
    tree = [process]
    with contextlib.suppress(psutil.NoSuchProcess):
        tree += process.children(recursive=True)
    for member in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.terminate()
    _, left = psutil.wait_procs(tree, timeout=within_s)
    for member in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(left, timeout=5)


def _prepare(root: Path, url: str) -> None:
    """The work pool, the limit of GPU work, and the deployments of prefect.yaml."""
    import torch  # seconds

    slots = str(max(1, torch.cuda.device_count()))
    for command in (
        ["work-pool", "create", POOL, "--type", "process", "--overwrite"],
        ["--no-prompt", "deploy", "--all"],
    ):
        _prefect(root, url, command)
    if not _prefect(root, url, ["gcl", "inspect", "gpu"], may_fail=True):
        _prefect(root, url, ["gcl", "create", "gpu", "--limit", slots])


def _prefect(root: Path, url: str, command: Sequence[str], *, may_fail: bool = False) -> bool:
    done = subprocess.run(
        [sys.executable, "-m", "prefect", *command],
        cwd=root, env=_environment(root, url), capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode and not may_fail:
        said = " ".join((done.stdout + done.stderr).split())[-400:]
        raise RunError(f"prefect {' '.join(command)}: failed ({said}); see {_log(root, 'server')}")
    return not done.returncode


def _started(root: Path, name: str, command: Sequence[str], url: str) -> psutil.Process:
    log = _log(root, name)
    log.parent.mkdir(exist_ok=True)
    with log.open("ab") as file:
        child = subprocess.Popen(
            [sys.executable, "-m", "prefect", *command],
            cwd=root, env=_environment(root, url), stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            start_new_session=True,
        )  # fmt: skip
    return psutil.Process(child.pid)


def _environment(root: Path, url: str) -> dict[str, str]:
    from flows.runtime.environment import project_state

    path = os.pathsep.join(filter(None, [str(root.resolve()), os.environ.get("PYTHONPATH", "")]))
    return {
        **project_state(root),
        **os.environ,
        "PREFECT_API_URL": url,
        "PYTHONPATH": path,
        "PWD": str(root.resolve()),
    }


def _reached_at(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "::") else host


def _record(root: Path) -> dict[str, Any]:
    try:
        return read_json(_file(root))
    except DataError:
        return {}


def _file(root: Path) -> Path:
    return root / ".prefect" / "service.json"


def _log(root: Path, name: str) -> Path:
    return root / ".prefect" / f"{name}.log"


def _identity(process: psutil.Process) -> dict[str, Any]:
    """A number that another process may get, and a name that none will."""
    return {"pid": process.pid, "name": name_of(process.pid)}


def _process(identity: dict[str, Any] | None) -> psutil.Process | None:
    if identity is None or has_ended(identity["name"]):
        return None
    try:
        process = psutil.Process(identity["pid"])
        return process if _runs(process) else None
    except psutil.NoSuchProcess:
        return None


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _write_text(path: Path, text: str) -> None:
    write_atomic(path, lambda partial: partial.write_text(text, encoding="utf-8"))
