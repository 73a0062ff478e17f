"""What a process gives up for good: memory, time, capabilities, and outliving its parent."""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import sys

from . import linux
from .annotations import Any

OPEN_FILES = 64
STACK_BYTES = 120 * 2**20  # of the main thread; the kernel leaves 128 MiB of addresses for it
CAPABILITY_VERSION = 0x20080522  # linux/capability.h: version 3, two words a set
IS_LINUX = sys.platform == "linux"


def limit_resources(limits: dict[str, Any], *, warns: bool = False) -> None:
    """Apply the limits to this process for good; if it `warns`, SIGXCPU comes a second before SIGKILL."""
    bounds = {
        resource.RLIMIT_CPU: (limits["cpu_s"], limits["cpu_s"] + warns),
        resource.RLIMIT_AS: (limits["memory_bytes"],) * 2,
        resource.RLIMIT_FSIZE: (limits["scratch_bytes"],) * 2,
        resource.RLIMIT_NOFILE: (OPEN_FILES,) * 2,
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_STACK: (STACK_BYTES,) * 2,
    }
    if IS_LINUX:  # SIGPENDING: pending timers and signals, of which each user has a fixed number
        for kind in ("MSGQUEUE", "MEMLOCK", "SIGPENDING", "RTPRIO", "NICE"):
            bounds[getattr(resource, f"RLIMIT_{kind}")] = (0, 0)
    for kind, (soft, hard) in bounds.items():
        _lower(kind, soft, hard)


def _lower(kind: int, soft: int, hard: int) -> None:
    most = resource.getrlimit(kind)[1]
    if most != resource.RLIM_INFINITY:
        soft, hard = min(soft, most), min(hard, most)
    try:
        resource.setrlimit(kind, (soft, hard))
    except ValueError:
        if IS_LINUX:
            raise  # macOS refuses some, and its mode promises little


def drop_capabilities() -> None:
    """Drop all capabilities, also for any program that this process may start."""
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    linux.prctl(linux.PR_CAP_AMBIENT, 4)  # clear all
    for capability in range(64):
        try:
            linux.prctl(linux.PR_CAPBSET_DROP, capability)
        except OSError:
            break  # beyond the last that the kernel knows, or no right to drop any, and then there is none
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    linux.call("capset", ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)()))


def end_with_parent(pipe_of_parent: int) -> None:
    """Be killed when the parent ends; end now if it has ended, and closed its end of the pipe."""
    if not IS_LINUX:
        return
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    poll = select.poll()
    poll.register(pipe_of_parent, 0)
    if poll.poll(0):
        os._exit(1)


def refuse_to_be_read() -> None:
    """Keep other processes of the same user from tracing this one and reading its memory."""
    if IS_LINUX:
        linux.prctl(linux.PR_SET_DUMPABLE, 0)
