"""Calls of the C library, with errors as exceptions."""

from __future__ import annotations

import ctypes
import os

from .annotations import Any

_LIBC = ctypes.CDLL(None, use_errno=True)

# linux/prctl.h
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP = 1, 4, 22, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 36, 38, 47
SYS_MOUNT_SETATTR, SYS_LANDLOCK_CREATE, SYS_LANDLOCK_ADD, SYS_LANDLOCK_RESTRICT = 442, 444, 445, 446


def call(name: str, *arguments: Any) -> int:
    """The result of a C function; numbers are passed as long, None as a null pointer.

    Raises:
        OSError: it returned a negative number, or this C library does not have it.
    """
    try:
        function = getattr(_LIBC, name)
    except AttributeError:
        raise OSError(f"this C library has no {name}") from None
    function.restype = ctypes.c_long if name == "syscall" else ctypes.c_int
    result = function(*[ctypes.c_long(value) if isinstance(value, int) else value for value in arguments])
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def prctl(option: int, *arguments: Any) -> None:
    """Change a property of this process; missing arguments are 0, as the kernel requires."""
    call("prctl", option, *arguments, *[0] * (4 - len(arguments)))
