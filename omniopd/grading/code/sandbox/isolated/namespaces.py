"""A private file system, process table, network and user, by the kernel's namespaces or by bwrap."""

from __future__ import annotations

import ctypes
import os

from .annotations import Any
from .linux import SYS_MOUNT_SETATTR, call

# linux/sched.h, sys/mount.h, linux/mount.h
NEW_MOUNTS, NEW_CGROUPS, NEW_NAMES, NEW_IPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
NEW_USERS, NEW_PIDS, NEW_NETWORK = 0x10000000, 0x20000000, 0x40000000
READ_ONLY, NO_SETUID, NO_DEVICES, NO_EXECUTION, REMOUNT, BIND, RECURSIVE = 1, 2, 4, 8, 32, 4096, 16384
PRIVATE, DETACH = 1 << 18, 2
AT_RECURSIVE = 0x8000
NOBODY = 65534
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
ROOT = "/tmp"  # where the new file system is assembled, in the program's mount namespace
SCRATCH = "/scratch"
NAMES_PER_MIB = 256  # files and folders in the scratch folder


def leave(*, as_user: bool) -> None:
    """Leave the namespaces of users, processes, network and others, if allowed; the next child has process ID 1."""
    user, group = os.geteuid(), os.getegid()
    kinds = NEW_PIDS | NEW_NETWORK | NEW_IPC | NEW_NAMES | NEW_CGROUPS
    call("unshare", kinds | (NEW_USERS if as_user else 0))
    if as_user:
        maps = {"setgroups": "deny", "uid_map": f"{NOBODY} {user} 1", "gid_map": f"{NOBODY} {group} 1"}
        for name, text in maps.items():
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)


def move_in(readable: list[str], limits: dict[str, Any]) -> None:
    """Move into a file system of the readable paths and five devices, all read-only, and a scratch folder."""
    call("unshare", NEW_MOUNTS)
    _mount(None, "/", RECURSIVE | PRIVATE)
    sources = {path: os.open(path, os.O_PATH) for path in [*readable, *DEVICES]}  # ROOT may hide some of them
    _mount(None, ROOT, NO_SETUID | NO_DEVICES, kind="tmpfs", options="size=1m,mode=755")
    for path, source in sources.items():
        _bind(path, source)
    os.mkdir(ROOT + SCRATCH)
    _mount(None, ROOT, REMOUNT | READ_ONLY | NO_SETUID | NO_DEVICES)
    os.chdir(ROOT)
    call("pivot_root", b".", b".")
    call("umount2", b".", DETACH)
    mount_scratch(limits)


def mount_scratch(limits: dict[str, Any]) -> None:
    """Mount a scratch folder in memory, limited in size, that disappears with the program."""
    size = limits["scratch_bytes"]
    names = max(64, size * NAMES_PER_MIB // 2**20)
    options = f"size={size},nr_inodes={names},mode=700"
    _mount(None, SCRATCH, NO_SETUID | NO_DEVICES, kind="tmpfs", options=options)
    os.chdir(SCRATCH)


def _bind(path: str, source: int) -> None:
    place = ROOT + path
    is_folder = os.path.isdir(f"/proc/self/fd/{source}")
    os.makedirs(place if is_folder else os.path.dirname(place), exist_ok=True)
    if not is_folder:
        os.close(os.open(place, os.O_CREAT | os.O_WRONLY, 0o444))
    _mount(f"/proc/self/fd/{source}", place, BIND | RECURSIVE)
    os.close(source)
    _make_read_only(place, NO_SETUID | (0 if path in DEVICES else NO_DEVICES))


def _make_read_only(place: str, flags: int) -> None:
    """Make a mount and those within it read-only; before Linux 5.12 only the mount itself."""
    attributes = (ctypes.c_uint64 * 4)(READ_ONLY | flags)  # which have the numbers of the flags
    try:
        call("syscall", SYS_MOUNT_SETATTR, -100, place.encode(), AT_RECURSIVE, ctypes.byref(attributes), 32)
    except OSError:
        kept = os.statvfs(place).f_flag & (NO_SETUID | NO_DEVICES | NO_EXECUTION)  # which may not be cleared
        _mount(None, place, REMOUNT | BIND | READ_ONLY | flags | kept)


def _mount(source: str | None, place: str, flags: int, *, kind: str | None = None, options: str = "") -> None:
    texts = [None if text is None else text.encode() for text in (source or kind, place, kind)]
    call("mount", *texts, flags, options.encode())


def bwrap_command(bwrap: str, readable: list[str]) -> list[str]:
    """bwrap with its options, without the command to run in it.

    It keeps the one capability with which `inside` mounts a scratch folder of limited size and which it then drops.
    """
    options = [
        "--unshare-all", "--unshare-user", "--uid", str(NOBODY), "--gid", str(NOBODY), "--hostname", "sandbox",
        "--die-with-parent", "--as-pid-1", "--new-session", "--cap-drop", "ALL", "--cap-add", "CAP_SYS_ADMIN",
    ]  # fmt: skip
    for path in readable:
        options += ["--ro-bind", path, path]
    for path in DEVICES:
        options += ["--dev-bind", path, path]
    options += ["--dir", SCRATCH, "--remount-ro", "/", "--chdir", SCRATCH]
    return [bwrap, *options, "--"]
