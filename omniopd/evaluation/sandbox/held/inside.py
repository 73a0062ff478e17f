"""The first code in the sandbox: gives up rights, starts the program in a child, and says how it ended.

File descriptors: 0 to 2 the program's own, 3 its source, 4 its tests, 5 the verdict. The child closes those above
2, and the tests are read after it was made: it has never held them.
"""

import builtins
import contextlib
import json
import os
import sys
import time
import types
from typing import Any, NoReturn

from . import landlock, namespaces, rights, seccomp
from .judge import serve_program, verdict
from .peer import Peer

SOURCE, TESTS, VERDICT = 3, 4, 5


def main() -> None:
    """Run the program as the job in the first argument says."""
    job = json.loads(sys.argv[1])
    if job["mode"] == "bubblewrap":
        namespaces.mount_scratch(job["limits"])
    if rights.IS_LINUX:
        rights.drop_capabilities()
    rights.end_with_parent(VERDICT)
    rights.refuse_to_be_read()
    with open(SOURCE, encoding="utf-8") as file:
        source = file.read()
    pipes = (os.pipe(), os.pipe()) if job["has_tests"] else None
    _say({"began": True})
    child = os.fork()
    if child:
        _watch(job, child, pipes)
    _play(job, source, pipes)


def _watch(job: dict[str, Any], child: int, pipes: Any) -> NoReturn:
    """Judge the child or wait for it; report, and end this process, and with it the child."""
    with open(TESTS, encoding="utf-8") as file:
        tests = file.read()
    report = _judged(job, json.loads(tests), pipes) if pipes else {}
    # A child that was judged is not waited for: it ends with this process. Of one that ended, it is known how.
    patience_s = 1.0 if report.get("ended") else 0.0 if pipes else None
    _say(report | _end_of(child, patience_s))
    os._exit(0)


def _say(record: dict[str, Any]) -> None:
    os.write(VERDICT, json.dumps(record).encode() + b"\n")


def _judged(job: dict[str, Any], tests: dict[str, Any], pipes: Any) -> dict[str, Any]:
    (reads, to_us), (from_them, writes) = pipes
    os.close(to_us)
    os.close(from_them)
    _confine(job, [os.getpid()])
    return verdict(Peer(os.fdopen(reads, "rb"), os.fdopen(writes, "wb"), serves_all=False), tests)


def _end_of(child: int, patience_s: float | None) -> dict[str, Any]:
    """How the child ended, where it has after so many seconds; None waits for it."""
    until = time.monotonic() + (patience_s or 0)
    found, status, used = os.wait4(child, 0 if patience_s is None else os.WNOHANG)
    while not found and time.monotonic() < until:
        time.sleep(0.01)
        found, status, used = os.wait4(child, os.WNOHANG)
    if not found:
        return {}
    return {"exit_code": os.waitstatus_to_exitcode(status), "cpu_s": used.ru_utime + used.ru_stime}


def _play(job: dict[str, Any], source: str, pipes: Any) -> None:
    """Be the program; with tests, serve them afterwards."""
    rights.end_with_parent(VERDICT)
    peer = None
    keep = []
    if pipes:
        (_, writes), (reads, _) = pipes
        peer = Peer(os.fdopen(reads, "rb"), os.fdopen(writes, "wb"), serves_all=True)
        keep = [reads, writes]
    for number in range(3, 256):
        if number not in keep:
            with contextlib.suppress(OSError):
                os.close(number)
    os.setsid()
    _confine(job, [os.getpid()])
    space = _module("program" if peer else "__main__")
    sys.argv = ["program.py"]
    if not peer:
        exec(compile(source, "program.py", "exec"), space)
        return
    error = _load(source, space)
    serve_program(peer, space, error)
    sys.stdout.flush()
    os._exit(0)


def _load(source: str, space: dict[str, Any]) -> BaseException | None:
    """What the program raised while its definitions ran."""
    try:
        exec(compile(source, "program.py", "exec"), space)
    except BaseException as error:
        return error
    return None


def _module(name: str) -> dict[str, Any]:
    """The names of a new module; classes find themselves in it, as dataclasses and pickles want."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    module.__dict__["__builtins__"] = builtins
    return module.__dict__


def _confine(job: dict[str, Any], pids: list[int]) -> None:
    """Hold this process to its limits, its folders and its system calls."""
    rights.limit_resources(job["limits"])
    if job["mode"] == "landlock":
        landlock.confine([*job["readable"], *namespaces.DEVICES], [job["scratch"], "/dev/null"])
    if job["refuses_calls"]:
        shares_files = job["mode"] in ("landlock", "seccomp")
        seccomp.refuse(pids, shares_files=shares_files, has_landlock=job["mode"] == "landlock")
