"""Processes: their names, which no later process with the same number has, and children that end with their parent."""

import ctypes
import os
import signal
import sys
from functools import lru_cache
from pathlib import Path

import psutil

PR_SET_PDEATHSIG = 1  # linux/prctl.h
# Heeds the parent's death from the first moment on, before anything is imported; then it becomes the command.
_GUARD = f"""
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl({PR_SET_PDEATHSIG}, int(sys.argv[2]))
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.executable, [sys.executable, *sys.argv[3:]])
"""


def guarded(*arguments: str, by: signal.Signals = signal.SIGKILL) -> list[str]:
    """The command of a Python process that gets that signal, on Linux, when the thread that starts it ends.

    arguments: those of the interpreter, such as `-m`, module, ….
    """
    return [sys.executable, "-S", "-c", _GUARD, str(os.getpid()), str(int(by)), *arguments]


def end_with_parent() -> None:
    """Be killed when the process that started this one ends, however it does; on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def own_name() -> str:
    """What this process is called among all that ever ran on this machine: boot, namespace, number, beginning."""
    return _own(os.getpid())


def name_of(pid: int) -> str:
    """What the process with that number is called in the same way."""
    return ":".join((_boot(), _namespace(), str(pid), _began(pid)))


def has_ended(name: str) -> bool:
    """Whether the process of that name runs no more; False where it cannot be seen from here, as in a container."""
    boot, namespace, pid, began = name.split(":")
    if boot != _boot():
        return True
    return namespace == _namespace() and _began(int(pid)) != began


def runs(pid: int) -> bool:
    """Whether a process with that number runs here."""
    return bool(_began(pid))


@lru_cache(maxsize=1)
def _own(pid: int) -> str:
    return name_of(pid)


@lru_cache
def _boot() -> str:
    return _read(Path("/proc/sys/kernel/random/boot_id")).strip()


def _namespace() -> str:
    try:
        return str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        return ""


def _began(pid: int) -> str:
    """When it began: in ticks since the machine did, which no setting of the clock changes, where they can be read.

    Empty where no such process runs.
    """
    if fields := _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split():
        return "" if fields[0] in "ZX" else fields[19]
    try:
        return str(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
