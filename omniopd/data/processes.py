"""Processes: names that a later process with the same PID does not have, and children that end with their parent."""

import ctypes
import os
import signal
import sys
from functools import lru_cache
from pathlib import Path

import psutil

PR_SET_PDEATHSIG = 1  # linux/prctl.h
# Watches for the parent's death before anything is imported, then becomes the command.
_GUARD = f"""
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl({PR_SET_PDEATHSIG}, int(sys.argv[2]))
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.executable, [sys.executable, *sys.argv[3:]])
"""


def guarded(*arguments: str, by: signal.Signals = signal.SIGKILL) -> list[str]:
    """The command of a Python process that gets the signal, on Linux, when the thread that started it ends.

    arguments: for the interpreter, such as `-m`, module, ….
    """
    return [sys.executable, "-S", "-c", _GUARD, str(os.getpid()), str(int(by)), *arguments]


def end_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, however that ends; on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def this_process() -> str:
    """The name of this process, unique on this machine: boot id, PID namespace, PID, start time."""
    return name_of(os.getpid())


def name_of(pid: int) -> str:
    """The same for another process."""
    return ":".join((_boot(), _namespace(), str(pid), _start_time(pid)))


def has_ended(name: str) -> bool:
    """Whether the process of that name has ended; False where it cannot be seen from here, as in a container."""
    boot, namespace, pid, start_time = name.split(":")
    if boot != _boot():
        return True
    return namespace == _namespace() and _start_time(int(pid)) != start_time


def runs(pid: int) -> bool:
    """Whether a process with that number runs here."""
    return bool(_start_time(pid))


@lru_cache
def _boot() -> str:
    return _read(Path("/proc/sys/kernel/random/boot_id")).strip()


def _namespace() -> str:
    try:
        return str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        return ""


def _start_time(pid: int) -> str:
    """In ticks since boot where they can be read, which no change of the clock affects; empty for no such process."""
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
