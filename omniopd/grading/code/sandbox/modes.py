"""The kinds of sandbox, strongest first, and which of them work on this machine."""

import functools
import os
import platform
import shutil

from omniopd.errors import ProcessError
from omniopd.grading.code.sandbox.isolated import landlock, seccomp
from omniopd.grading.code.sandbox.records import Mode
from omniopd.grading.code.sandbox.run import run_in

_FULL = "a file system, process table and network of its own, and no system call that starts processes or widens rights"
MODES = (
    Mode("bubblewrap", f"Programs run in bubblewrap: {_FULL}."),
    Mode("namespaces", f"Programs run in namespaces of the kernel: {_FULL}."),
    Mode(
        "root namespaces",
        f"Programs run in namespaces of the kernel, made by root and without rights: {_FULL}.",
    ),
    Mode(
        "landlock",
        "Programs run under landlock and seccomp: they read only Python's and the system's libraries and write only "
        "into a scratch folder, but see which paths exist and which processes run, and files that they delete while "
        "open are counted one by one.",
    ),
    Mode(
        "seccomp",
        "Programs run under seccomp: they write no file and reach no network or process, but read whatever this user "
        "can read; give the machine bubblewrap, user namespaces or landlock before you grade untrusted programs.",
    ),
    Mode(
        "limits",
        "Programs run under resource limits only: they can read and write what this user can, start processes and "
        "use the network; grade only programs that you trust.",
    ),
)
_WITHOUT_SECCOMP = (
    "Programs run in a file system, process table and network of their own, but on {machine} no system call is "
    "refused, so the number of their processes is not limited."
)


@functools.cache
def mode_of_this_machine() -> Mode:
    """The strongest mode in which a program runs here, determined by running one in each.

    Raises:
        ProcessError: it runs in none.
    """
    machine, why = os.uname().machine, []
    is_linux, has_seccomp = platform.system() == "Linux", seccomp.is_known(machine)
    is_possible = {
        "bubblewrap": is_linux and shutil.which("bwrap") is not None,
        "namespaces": is_linux,
        "root namespaces": is_linux,
        "landlock": is_linux and has_seccomp and landlock.version() > 0,
        "seccomp": is_linux and has_seccomp,
        "limits": True,
    }
    for mode in MODES:
        if not is_possible[mode.name]:
            continue
        try:
            if run_in(mode.name, "print(1 + 1)").stdout == "2\n":
                is_full = has_seccomp or mode.name == "limits"
                return mode if is_full else Mode(mode.name, _WITHOUT_SECCOMP.format(machine=machine))
            why.append(f"{mode.name}: the program printed nothing")
        except ProcessError as error:
            why.append(f"{mode.name}: {error}")
    raise ProcessError(f"no program can be run on this machine ({'; '.join(why)}); see docs/grading.md")
