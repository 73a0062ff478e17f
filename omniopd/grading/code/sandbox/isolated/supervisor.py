"""The supervisor of a program: starts it, watches it, limits its output, ends it, and removes what it left.

Reads a job from standard input and writes the result to standard output, both marshalled. It outlives neither its job
nor its caller: however the caller ends, the kernel signals this process, which ends the program and cleans up.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import select
import signal
import sys
import time

from . import namespaces, rights
from .annotations import Any, NoReturn
from .linux import PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG, prctl

TICK_S = 0.05
BLOCK = 65536
MOST_NAMES = 4096  # files and folders in a scratch folder on disk
LONGEST_PATH = 2048  # of a folder in it: above 4,096 bytes nothing could be counted
REPORT_BYTES = 65536
INNER = ("mode", "limits", "readable", "scratch", "refuses_calls", "lent", "exit_is_success")  # for `inside`
BOOT = "import sys; sys.path.append(sys.argv.pop(1)); from isolated.inside import main; main()"


def main() -> None:
    """Do the job on standard input. The end of the caller, or SIGTERM from it, is an exception here."""
    job = marshal.loads(sys.stdin.buffer.read())
    signal.signal(signal.SIGTERM, _end)
    if rights.IS_LINUX:
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != job["caller"]:
        sys.exit(1)
    if not job["mode"].endswith(("namespaces", "bubblewrap")):
        rights.refuse_to_be_read()  # by the program, which may see this process
    result: dict[str, Any] = {}
    shares_files = job["mode"] in ("landlock", "limits")
    scratch = _secret_name(job["temporary"]) if shares_files else None
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


def _secret_name(folder: str) -> str:
    """A name in the folder that cannot be guessed."""
    return os.path.join(folder, f"omniopd-{os.urandom(8).hex()}")


def _end(*_: object) -> NoReturn:
    """Exit once: the kernel signals for every thread of the caller, which would interrupt the cleanup."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(1)


def _run(job: dict[str, Any]) -> dict[str, Any]:
    """Start the program in the mode of the job, and follow it to its end."""
    mode = job["mode"]
    if mode.endswith("namespaces"):
        namespaces.leave(as_user=mode == "namespaces")
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)  # which a change of user may have cleared
    pipes = {name: os.pipe() for name in ("stdout", "stderr", "verdict")}
    files = [_file(job["stdin"]), _file(job["program"]), _file(job["tests"] or "")]
    child = os.fork()
    if not child:
        _become(job, files, pipes)
    for descriptor in (*files, *(writes for _, writes in pipes.values())):
        os.close(descriptor)
    return _Follower(job, child, {name: reads for name, (reads, _) in pipes.items()}).result()


def _file(text: str) -> int:
    """A descriptor from which the text is read; it is kept in memory, not on disk, where the system allows it."""
    if hasattr(os, "memfd_create"):
        number = os.memfd_create("text", 0)
    else:
        import tempfile  # not needed on Linux, and as expensive as all other imports here

        with tempfile.TemporaryFile() as file:
            number = os.dup(file.fileno())
    with os.fdopen(os.dup(number), "wb") as file:
        file.write(text.encode("utf-8", "surrogatepass"))
    os.lseek(number, 0, os.SEEK_SET)
    return number


def _become(job: dict[str, Any], files: list[int], pipes: dict[str, tuple[int, int]]) -> NoReturn:
    """In the child: move to where the program is to run, and become `inside`."""
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        stdin, source, tests = files
        _renumber([stdin, pipes["stdout"][1], pipes["stderr"][1], source, tests, pipes["verdict"][1]])
        os.setpgid(0, 0)
        if job["mode"].endswith("namespaces"):
            namespaces.move_in(job["readable"], job["limits"])
        elif job["scratch"]:
            os.chdir(job["scratch"])
        elif job["mode"] == "seccomp":
            os.chdir("/")
        rights.end_with_parent(5)
        home = job["scratch"] or namespaces.SCRATCH
        command = _command(job)
        os.execve(command[0], command, {
            "HOME": home, "TMPDIR": home, "LANG": "C.UTF-8", "PATH": "/usr/bin", "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONHASHSEED": "0", "MALLOC_ARENA_MAX": "2",  # sets of texts have the same order in every run
        })  # fmt: skip
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}".encode())
    finally:
        os._exit(127)


def _renumber(descriptors: list[int]) -> None:
    """Make the descriptors 0, 1, 2, …, and close all others."""
    high = [os.dup2(number, 100 + i, inheritable=False) for i, number in enumerate(descriptors)]
    for i, number in enumerate(high):
        os.dup2(number, i, inheritable=True)
    os.closerange(len(descriptors), 200)


def _command(job: dict[str, Any]) -> list[str]:
    inner = {name: job[name] for name in INNER} | {"has_tests": job["tests"] is not None}
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
    if job["mode"] == "bubblewrap":
        return namespaces.bwrap_command(job["bwrap"], job["readable"]) + python
    return python


class _Follower:
    """A running program: its output so far, and the limit that ended it."""

    def __init__(self, job: dict[str, Any], child: int, pipes: dict[str, int]) -> None:
        self._limits, self._scratch, self._child, self._pipes = job["limits"], job["scratch"], child, pipes
        output_bytes = job["limits"]["output_bytes"]
        self._bounds = {"stdout": output_bytes, "stderr": output_bytes, "verdict": REPORT_BYTES}
        self._written = {name: bytearray() for name in pipes}
        self._began = time.monotonic()
        self._reason = ""
        try:
            self._handle = os.pidfd_open(child)  # readable when the child ends
        except (AttributeError, OSError):
            self._handle = None

    def result(self) -> dict[str, Any]:
        """The result of the program, when it has ended."""
        for pipe in self._pipes.values():
            os.set_blocking(pipe, False)
        while not (is_reaped := os.waitpid(self._child, os.WNOHANG)[0] == self._child):
            self._wait()
            self._read()
            self._reason = self._reason or self._exceeded()
            if self._reason:
                break
        wall_s = time.monotonic() - self._began
        if not is_reaped:
            _kill(self._child)
        self._read()
        written = {name: bytes(output) for name, output in self._written.items()}
        return written | {"limit": self._reason, "wall_s": wall_s}

    def _wait(self) -> None:
        """Wait for output, the end of the program, or the next tick."""
        poll = select.poll()
        for descriptor in (*self._pipes.values(), self._handle):
            if descriptor is not None:
                poll.register(descriptor, select.POLLIN)
        poll.poll(TICK_S * 1000)

    def _read(self) -> None:
        for name, pipe in list(self._pipes.items()):
            kept, bound = self._written[name], self._bounds[name]
            with contextlib.suppress(BlockingIOError):
                while len(kept) <= bound:
                    block = os.read(pipe, BLOCK)
                    if not block:
                        os.close(self._pipes.pop(name))
                        break
                    kept += block
            if len(kept) > bound:
                self._reason = self._reason or "output"
                del kept[bound:]

    def _exceeded(self) -> str:
        """The limit that is exceeded, of those that the kernel does not enforce; empty if none is."""
        if time.monotonic() - self._began > self._limits["wall_s"]:
            return "time"
        if _num_threads(self._child) > self._limits["num_threads"]:
            return "threads"
        is_full = self._scratch and _is_full(self._scratch, self._limits["scratch_bytes"])
        return "scratch" if is_full else ""


def _num_threads(pid: int) -> int:
    """The number of threads in the process with most, among this one and its descendants."""
    most, processes = 0, [pid]
    while processes:
        one = processes.pop()
        with contextlib.suppress(OSError, ValueError):
            most = max(most, len(os.listdir(f"/proc/{one}/task")))
            with open(f"/proc/{one}/task/{one}/children", encoding="ascii") as file:
                processes += map(int, file.read().split())
    return most


def _is_full(folder: str, max_bytes: int) -> bool:
    """Whether a folder has more bytes, more names or longer paths than allowed."""
    num_names = num_bytes = 0
    folders = [folder]
    while folders:
        place = folders.pop()
        if len(os.fsencode(place)) > LONGEST_PATH:
            return True
        with contextlib.suppress(OSError), os.scandir(place) as entries:
            for entry in entries:
                num_names += 1
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    num_bytes += entry.stat(follow_symlinks=False).st_blocks * 512
                if num_names > MOST_NAMES or num_bytes > max_bytes:
                    return True
    return False


def _kill(pid: int) -> None:
    for kill in (os.killpg, os.kill):  # without /proc, its children are reached by their group alone
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def _end_children() -> None:
    """End what is left: orphans have become children of this process."""
    with contextlib.suppress(OSError):
        while True:
            with open("/proc/thread-self/children", encoding="ascii") as file:
                children = [int(child) for child in file.read().split()]
            if not children:
                return
            for child in children:
                _kill(child)


def _remove(folder: str) -> None:
    """Remove a folder, whatever modes, names and depths are in it. No process uses it any more.

    The content of each inner folder is moved up before that is removed, so that no path is ever long. It gets new
    names, so that none that the program chose is in the way.
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
                    os.chmod(inner.path, 0o700)  # a folder without write permission cannot be moved
                os.rename(inner.path, _secret_name(folder))
            os.rmdir(entry.path)
    os.rmdir(folder)
