"""Landlock: folders outside which a process reads and writes nothing (docs.kernel.org/userspace-api/landlock.html)."""

import ctypes
import os
from collections.abc import Iterable

from .linux import SYS_LANDLOCK_ADD, SYS_LANDLOCK_CREATE, SYS_LANDLOCK_RESTRICT, call

READ = 1 << 0 | 1 << 2 | 1 << 3  # execute, read a file, list a folder
OF_A_FILE = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14  # execute, write, read, truncate
FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # number of rights on files, by version of the interface
TCP, SCOPES = 0b11, 0b11  # bind and connect, from version 4; abstract sockets and signals, from 6
SOCKETS_AND_DEVICES = 1 << 6 | 1 << 9 | 1 << 11  # not even in the scratch folder


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32)]


def version() -> int:
    """The version of the kernel's interface; 0 if it has none."""
    try:
        return call("syscall", SYS_LANDLOCK_CREATE, None, 0, 1)
    except OSError:
        return 0


def confine(readable: Iterable[str], writable: Iterable[str]) -> None:
    """Read nothing outside `readable` and write nothing outside `writable`, from now on.

    Raises:
        OSError: the kernel has no landlock.
    """
    abi = version()
    handled = (1 << FILE_RIGHTS.get(abi, 16)) - 1
    attributes = (ctypes.c_uint64 * 3)(handled, TCP if abi >= 4 else 0, SCOPES if abi >= 6 else 0)
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    ruleset = call("syscall", SYS_LANDLOCK_CREATE, ctypes.byref(attributes), size, 0)
    allowed = [(path, READ & handled) for path in readable]
    allowed += [(path, handled & ~SOCKETS_AND_DEVICES) for path in writable]
    for path, rights in allowed:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rule = _Beneath(rights if os.path.isdir(path) else rights & OF_A_FILE, parent)
        call("syscall", SYS_LANDLOCK_ADD, ruleset, 1, ctypes.byref(rule), 0)
        os.close(parent)
    call("syscall", SYS_LANDLOCK_RESTRICT, ruleset, 0)
    os.close(ruleset)
