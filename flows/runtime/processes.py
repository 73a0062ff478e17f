"""Where the heavy work of a step runs: in the flow's process, in a child process, or in several under torchrun."""

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
from omniopd.config.schema.compute import Step
from omniopd.data.layout import RunLayout
from omniopd.data.processes import guarded
from omniopd.data.store import read_json
from omniopd.rounds.run import open_run

POLL_S = 0.2  # an interrupted wait for a process ends within this time
END_S = 5.0  # for a process to end by itself
WORKER = "omniopd.rounds.worker"

_children: set[subprocess.Popen] = set()
_children_lock = threading.Lock()


def dispatch(name: Step, step: Callable[..., Any], run_dir: Path, *arguments: Any) -> Any:
    """Run a step where compute.where says, and return its result.

    Raises:
        ProcessError: its process took too long or died, for example out of memory; it may be started again.
    """
    compute = open_run(run_dir).config.compute
    place = compute.place_of(name)
    if place == "inline":
        return step(run_dir, *arguments)
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={compute.num_processes}"]
    command = guarded(*(torchrun if place == "torchrun" else []), "-m", WORKER)
    return _in_child(command, step.__name__, run_dir, arguments, timeout_s=compute.timeout_s)


def end_children() -> None:
    """End the processes of steps without waiting for their work."""
    with _children_lock:
        children = list(_children)
    for child in children:
        _end(child)


def _in_child(
    command: list[str], step: str, run_dir: Path, arguments: tuple[Any, ...], *, timeout_s: float
) -> Any:
    given, log = json.dumps([str(run_dir.resolve()), *arguments], default=str), RunLayout(run_dir).log
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        status = _run([*command, step, str(result), given], log=log, timeout_s=timeout_s)
        if status is None:
            raise errors.ProcessError(f"{step}: did not end within compute.timeout_s, {timeout_s:g} s")
        if not result.exists():
            how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
            hint = "; the memory may have run out" if status == -signal.SIGKILL else ""
            raise errors.ProcessError(f"{step}: its process {how}{hint}; see {log}")
        outcome = read_json(result)
    if "error" in outcome:
        raise getattr(errors, outcome["error"] or "", errors.ProcessError)(outcome["message"])
    value = outcome["value"]
    return Path(value) if isinstance(value, str) else value


def _run(command: list[str], *, log: Path, timeout_s: float) -> int | None:
    """Start a process that ends with this one, and return its status, or None if it takes too long."""
    with log.open("ab") as file:
        child = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
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
                return child.wait(timeout=POLL_S)
        return None
    finally:
        _end(child)
        with _children_lock:
            _children.discard(child)


def _end(child: subprocess.Popen) -> None:
    """Send SIGTERM to the process and its children, then SIGKILL to those that are left."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=END_S)
            if sign == signal.SIGKILL:
                return
