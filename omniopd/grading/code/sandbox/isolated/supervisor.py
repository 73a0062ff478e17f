"""The process beside a program: starts it, watches it, bounds what it writes, ends it, and removes what it left.

Reads a job from standard input and writes what it found to standard output, marshalled. It outlives neither its
job nor its caller: when the caller ends, however it ends, the kernel tells this process, which ends the program and
cleans up.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import select
import signal
import sys
import time

from . import bubblewrap, namespaces, rights
from .linux import PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG, prctl

TYPE_CHECKING = False  # the module `typing` would cost a tenth of a program's start
if TYPE_CHECKING:
    from typing import Any, NoReturn

TICK_S = 0.05
BLOCK = 65536
MOST_NAMES = 4096  # files and folders in a scratch folder on a disk
LONGEST_PATH = 2048  # of a folder in it: beyond 4,096 bytes nothing could be counted
REPORT_BYTES = 65536
INNER = (
    "mode",
    "limits",
    "readable",
    "scratch",
    "refuses_calls",
    "lent",
    "exit_is_success",
)  # what `inside` needs
BOOT = "import sys; sys.path.append(sys.argv.pop(1)); from isolated.inside import main; main()"


def main() -> None:
    """Do the job that standard input holds."""
    job = marshal.loads(sys.stdin.buffer.read())
    _die_with(job["caller"])
    if not job["mode"].endswith(("namespaces", "bubblewrap")):
        rights.refuse_to_be_read()  # by the program, which may see this process
    result: dict[str, Any] = {}
    scratch = _name(job["temporary"]) if _shares_files(job) else None
    try:
        if scratch:
            os.mkdir(scratch, 0o700)
        result = _run(job | {"scratch": scratch})
    except OSError as error:
        result = {"failed": str(error)}
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _end_children()
        if scratch:
            with contextlib.suppress(OSError):
                _remove(scratch)
    sys.stdout.buffer.write(marshal.dumps(result))


def _shares_files(job: dict[str, Any]) -> bool:
    return job["mode"] in ("landlock", "limits")


def _name(place: str) -> str:
    """A name in that folder that nobody guesses."""
    return os.path.join(place, f"omniopd-{os.urandom(8).hex()}")


def _die_with(caller: int) -> None:
    """Turn the end of the caller, or a wish of it, into an exception here."""
    signal.signal(signal.SIGTERM, _end)
    if rights.IS_LINUX:
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != caller:
        sys.exit(1)


def _end(*_: object) -> NoReturn:
    """Once: of a caller with threads the kernel tells again for each of them, and cleaning up would be broken off."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(1)


def _run(job: dict[str, Any]) -> dict[str, Any]:
    """Start the program in the mode of the job, and follow it to its end."""
    mode, limits = job["mode"], job["limits"]
    if mode.endswith("namespaces"):
        namespaces.leave(as_user=mode == "namespaces")
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)  # which a change of user may have cleared
    pipes = {name: os.pipe() for name in ("stdout", "stderr", "verdict")}
    files = [_file(job["stdin"]), _file(job["program"]), _file(job["tests"] or "")]
    child = os.fork()
    if not child:
        _become(job, files, pipes)
    for file in files:
        os.close(file)
    for _, writes in pipes.values():
        os.close(writes)
    return _Follower(job, child, {name: reads for name, (reads, _) in pipes.items()}).result(limits)


def _file(text: str) -> int:
    """A descriptor from which the text is read; nothing of it is on a disk where there is memory for it."""
    if hasattr(os, "memfd_create"):
        number = os.memfd_create("text", 0)
    else:
        import tempfile  # on Linux it is not needed, and costs as much as all else that is imported here

        with tempfile.TemporaryFile() as file:
            number = os.dup(file.fileno())
    with os.fdopen(os.dup(number), "wb") as file:
        file.write(text.encode("utf-8", "surrogatepass"))
    os.lseek(number, 0, os.SEEK_SET)
    return number


def _become(job: dict[str, Any], files: list[int], pipes: dict[str, tuple[int, int]]) -> NoReturn:
    """In the child: stand where the program shall run, and become `inside`."""
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        stdin, source, tests = files
        order = [stdin, pipes["stdout"][1], pipes["stderr"][1], source, tests, pipes["verdict"][1]]
        _arrange(order)
        os.setpgid(0, 0)
        if job["mode"].endswith("namespaces"):
            namespaces.move_in(job["readable"], job["limits"])
        elif job["scratch"]:
            os.chdir(job["scratch"])
        elif job["mode"] == "seccomp":
            os.chdir("/")
        rights.end_with_parent(5)
        command = _command(job)
        os.execve(command[0], command, _environment(job["scratch"] or namespaces.SCRATCH))
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}".encode())
    finally:
        os._exit(127)


def _arrange(order: list[int]) -> None:
    """Make the descriptors 0, 1, 2, …, and close all others."""
    high = [os.dup2(number, 100 + i, inheritable=False) for i, number in enumerate(order)]
    for i, number in enumerate(high):
        os.dup2(number, i, inheritable=True)
    os.closerange(len(order), 200)


def _command(job: dict[str, Any]) -> list[str]:
    inner = {name: job[name] for name in INNER}
    inner["has_tests"] = job["tests"] is not None
    python = [
        job["python"],
        "-s",
        "-S",
        "-P",
        "-X",
        "utf8",
        "-c",
        BOOT,
        job["code"],
        marshal.dumps(inner).hex(),
    ]
    return (
        bubblewrap.command(job["bwrap"], job["readable"]) + python if job["mode"] == "bubblewrap" else python
    )


def _environment(home: str) -> dict[str, str]:
    """All that a program finds in its environment; sets of texts have the same order in every run."""
    return {"HOME": home, "TMPDIR": home, "LANG": "C.UTF-8", "PATH": "/usr/bin", "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1", "MALLOC_ARENA_MAX": "2"}  # fmt: skip


class _Follower:
    """A running program: what it wrote so far, and why it was ended."""

    def __init__(self, job: dict[str, Any], child: int, pipes: dict[str, int]) -> None:
        self._job, self._child, self._pipes = job, child, pipes
        self._written = {name: bytearray() for name in pipes}
        self._began = time.monotonic()
        self._reason = ""
        self._handle = _handle_of(child)
        self._is_reaped = False

    def result(self, limits: dict[str, Any]) -> dict[str, Any]:
        """What there is to say of the program, when it has ended."""
        bounds = {"stdout": limits["output_bytes"], "stderr": limits["output_bytes"], "verdict": REPORT_BYTES}
        for pipe in self._pipes.values():
            os.set_blocking(pipe, False)
        while not self._reason and not self._has_ended():
            self._wait()
            self._read(bounds)
            self._reason = self._reason or self._over(limits)
        wall_s = time.monotonic() - self._began
        if not self._is_reaped:
            _kill(self._child)
        self._read(bounds)
        return {name: bytes(written) for name, written in self._written.items()} | {
            "limit": self._reason,
            "wall_s": wall_s,
        }

    def _has_ended(self) -> bool:
        self._is_reaped = self._is_reaped or os.waitpid(self._child, os.WNOHANG)[0] == self._child
        return self._is_reaped

    def _wait(self) -> None:
        """Until something was written, or the program has ended, or a tick has passed."""
        poll = select.poll()
        for pipe in self._pipes.values():
            poll.register(pipe, select.POLLIN)
        if self._handle is not None:
            poll.register(self._handle, select.POLLIN)
        poll.poll(TICK_S * 1000)

    def _read(self, bounds: dict[str, int]) -> None:
        for name, pipe in list(self._pipes.items()):
            kept = self._written[name]
            with contextlib.suppress(BlockingIOError):
                while len(kept) <= bounds[name]:
                    block = os.read(pipe, BLOCK)
                    if not block:
                        os.close(self._pipes.pop(name))
                        break
                    kept += block
            if len(kept) > bounds[name]:
                self._reason = self._reason or "output"
                del kept[bounds[name] :]

    def _over(self, limits: dict[str, Any]) -> str:
        """The limit that is passed, of those that the kernel does not hold; empty where none is."""
        if time.monotonic() - self._began > limits["wall_s"]:
            return "time"
        if _num_threads(self._child) > limits["num_threads"]:
            return "threads"
        scratch = self._job["scratch"]
        return "scratch" if scratch and _is_over(scratch, limits["scratch_bytes"]) else ""


def _handle_of(child: int) -> int | None:
    """What becomes readable when the child ends; None where the kernel has no such thing."""
    try:
        return os.pidfd_open(child)
    except (AttributeError, OSError):
        return None


def _num_threads(pid: int) -> int:
    """Of the process that has most, among this one and its descendants."""
    most, processes = 0, [pid]
    while processes:
        one = processes.pop()
        with contextlib.suppress(OSError, ValueError):
            most = max(most, len(os.listdir(f"/proc/{one}/task")))
            with open(f"/proc/{one}/task/{one}/children", encoding="ascii") as file:
                processes += map(int, file.read().split())
    return most


def _is_over(folder: str, size: int) -> bool:
    """Whether a folder holds more bytes, more names or longer paths than it may."""
    names = taken = 0
    places = [folder]
    while places:
        place = places.pop()
        if len(os.fsencode(place)) > LONGEST_PATH:
            return True
        with contextlib.suppress(OSError), os.scandir(place) as entries:
            for entry in entries:
                names += 1
                if entry.is_dir(follow_symlinks=False):
                    places.append(entry.path)
                else:
                    taken += entry.stat(follow_symlinks=False).st_blocks * 512
                if names > MOST_NAMES or taken > size:
                    return True
    return False


def _kill(pid: int) -> None:
    for kill in (os.killpg, os.kill):  # where there is no /proc, its children are found by their group alone
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def _end_children() -> None:
    """End what is left: what lost its parent has become a child of this process."""
    with contextlib.suppress(OSError):
        while True:
            with open("/proc/thread-self/children", encoding="ascii") as file:
                children = [int(child) for child in file.read().split()]
            if not children:
                return
            for child in children:
                _kill(child)


def _remove(folder: str) -> None:
    """Remove a folder, whatever modes, names and depths are in it. Nothing runs in it any more.

    What a folder holds is moved up before the folder is removed, so that no path is ever long; the names that it gets
    there are new, so that none that the program chose is in the way.
    """
    os.chmod(folder, 0o700)
    while entries := list(os.scandir(folder)):
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
                continue
            os.chmod(entry.path, 0o700)
            for inner in list(os.scandir(entry.path)):
                if inner.is_dir(follow_symlinks=False):
                    os.chmod(inner.path, 0o700)  # a folder that may not be written cannot be moved
                os.rename(inner.path, _name(folder))
            os.rmdir(entry.path)
    os.rmdir(folder)
