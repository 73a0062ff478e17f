"""The C library's calls, with errors as exceptions."""

from __future__ import annotations

import ctypes
import os

TYPE_CHECKING = False  # the module `typing` would cost a tenth of a program's start
if TYPE_CHECKING:
    from typing import Any

_LIBC = ctypes.CDLL(None, use_errno=True)

# linux/prctl.h
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP = 1, 4, 22, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 36, 38, 47
SYS_MOUNT_SETATTR, SYS_LANDLOCK_CREATE, SYS_LANDLOCK_ADD, SYS_LANDLOCK_RESTRICT = 442, 444, 445, 446


def call(function: str, *arguments: Any) -> int:
    """What the C function returns; numbers are passed as long, and None as a null pointer.

    Raises:
        OSError: it returned a negative number, or this C library does not have it.
    """
    try:
        found = getattr(_LIBC, function)
    except AttributeError:
        raise OSError(f"this C library has no {function}") from None
    found.restype = ctypes.c_long if function == "syscall" else ctypes.c_int
    result = found(*[ctypes.c_long(value) if isinstance(value, int) else value for value in arguments])
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")
    return result


def prctl(option: int, *arguments: Any) -> None:
    """Change a property of this process; arguments that are left out are 0, as the kernel wants them."""
    call("prctl", option, *arguments, *[0] * (4 - len(arguments)))
