"""The ways to hold a program, strongest first, and which of them this machine can do."""

import functools
import os
import platform
import shutil
from collections.abc import Iterator

from omniopd.errors import ProcessError
from omniopd.grading.code.sandbox.isolated import landlock, seccomp
from omniopd.grading.code.sandbox.records import Mode
from omniopd.grading.code.sandbox.run import run_in

_OWN = "a file system, process table and network of its own, and no system call that starts processes or widens rights"
MODES = (
    Mode("bubblewrap", f"Programs run in bubblewrap: {_OWN}."),
    Mode("namespaces", f"Programs run in namespaces of the kernel: {_OWN}."),
    Mode(
        "root namespaces",
        f"Programs run in namespaces of the kernel, made by root and without rights: {_OWN}.",
    ),
    Mode(
        "landlock",
        "Programs run under landlock and seccomp: they read Python's and the system's libraries alone and write into "
        "a scratch folder alone, but see which paths exist and which processes run, and files that they delete while "
        "open are counted one by one.",
    ),
    Mode(
        "seccomp",
        "Programs run under seccomp: they write no file and reach no network or process, but read whatever this user "
        "reads; give the machine bubblewrap, user namespaces or landlock before you grade what you do not trust.",
    ),
    Mode(
        "limits",
        "Programs run under resource limits alone: they can read and write what this user can, start processes and "
        "use the network; grade here only what you trust.",
    ),
)
_NO_TABLE = (
    "Programs run in a file system, process table and network of their own, but on {machine} no system call is "
    "refused, so the number of their processes is not held."
)


@functools.cache
def mode_of_this_machine() -> Mode:
    """The strongest mode in which a program runs here; found by running one in each.

    Raises:
        ProcessError: it runs in none.
    """
    why = []
    for mode in _possible():
        try:
            if run_in(mode.name, "print(1 + 1)").stdout == "2\n":
                return _said(mode)
            why.append(f"{mode.name}: the program said nothing")
        except ProcessError as error:
            why.append(f"{mode.name}: {error}")
    raise ProcessError(f"no program can be run on this machine ({'; '.join(why)}); see docs/grading.md")


def _possible() -> Iterator[Mode]:
    """The modes whose parts are there, whether or not this user may use them."""
    is_linux, has_table = platform.system() == "Linux", seccomp.is_known(os.uname().machine)
    for mode in MODES:
        needs = {
            "bubblewrap": is_linux and shutil.which("bwrap") is not None,
            "namespaces": is_linux,
            "root namespaces": is_linux,
            "landlock": is_linux and has_table and landlock.version() > 0,
            "seccomp": is_linux and has_table,
        }
        if needs.get(mode.name, True):
            yield mode


def _said(mode: Mode) -> Mode:
    machine = os.uname().machine
    if mode.name == "limits" or seccomp.is_known(machine):
        return mode
    return Mode(mode.name, _NO_TABLE.format(machine=machine))
