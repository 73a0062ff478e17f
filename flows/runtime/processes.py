"""Where the heavy work of a step runs: in the flow's own process, in one of its own, or in several under torchrun."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omniopd import errors
from omniopd.config.schema import Compute, Step
from omniopd.data.layout import RunLayout
from omniopd.data.processes import guarded
from omniopd.data.store import read_json
from omniopd.rounds.run import open_run

LOOK_S = 0.2  # between looks at a process: an interrupted wait ends after so long at the latest
END_S = 5.0  # that a process has to end by itself
WORKER = "omniopd.rounds.worker"

_children: set[subprocess.Popen] = set()
_children_lock = threading.Lock()


def placed(name: Step, step: Callable[..., Any], run_dir: Path, *arguments: Any) -> Any:
    """What the step returns, done where the run's settings say.

    Raises:
        ProcessError: its process died, as when the memory ran out: it may be started again.
    """
    compute = open_run(run_dir).config.compute
    if compute.place_of(name) == "inline":
        return step(run_dir, *arguments)
    return _elsewhere(_command(name, compute), step.__name__, run_dir, arguments, timeout_s=compute.timeout_s)


def end_children() -> None:
    """End the processes that steps were given to, without waiting for their work."""
    with _children_lock:
        children = list(_children)
    for child in children:
        _end(child)


def _command(name: Step, compute: Compute) -> list[str]:
    if compute.place_of(name) == "process":
        return guarded("-m", WORKER)
    share = f"--nproc-per-node={compute.num_processes}"
    return guarded("-m", "torch.distributed.run", "--standalone", share, "-m", WORKER)


def _elsewhere(
    command: list[str], step: str, run_dir: Path, arguments: tuple[Any, ...], *, timeout_s: float
) -> Any:
    given = json.dumps([str(run_dir.resolve()), *arguments], default=str)
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        status = _run([*command, step, str(result), given], log=RunLayout(run_dir).log, timeout_s=timeout_s)
        if status is None:
            raise errors.ProcessError(f"{step}: did not end within compute.timeout_s, {timeout_s:g} s")
        if not result.exists():
            raise errors.ProcessError(_last_words(step, status, RunLayout(run_dir).log))
        found = read_json(result)
    if "error" not in found:
        value = found["value"]
        return Path(value) if isinstance(value, str) else value
    kind = getattr(errors, found["error"], None) if found["error"] else None
    raise (kind or errors.ProcessError)(found["message"])


def _run(command: list[str], *, log: Path, timeout_s: float) -> int | None:
    """Start a process that ends with this one, wait for it, and return its status; None where it took too long."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with log.open("ab") as file:
        child = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    with _children_lock:
        _children.add(child)
    deadline = time.monotonic() + timeout_s
    try:
        while time.monotonic() < deadline:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return child.wait(timeout=LOOK_S)
        return None
    finally:
        _end(child)
        with _children_lock:
            _children.discard(child)


def _end(child: subprocess.Popen) -> None:
    """Ask the process and those that it started to end, and kill what is left of them."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=END_S)
            if sign == signal.SIGKILL:
                return


def _last_words(step: str, status: int, log: Path) -> str:
    how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
    hint = "; the memory may have run out" if status == -signal.SIGKILL else ""
    return f"{step}: its process {how}{hint}; see {log}"
