"""The first code in the sandbox: drops rights, starts the program in a child, and reports how it ended.

File descriptors: 0 to 2 are the program's own, 3 its source, 4 its tests, 5 the verdict. The child closes those above
2, and the tests are read after the fork, so they are never in its memory.
"""

from __future__ import annotations

import builtins
import contextlib
import marshal
import os
import sys
import time
import types

from . import landlock, namespaces, rights, seccomp
from .annotations import Any, NoReturn

SOURCE, TESTS, VERDICT = 3, 4, 5
MOST_DESCRIPTORS = 256
RECURSION_LIMIT = 110_000  # 50,000 in LiveCodeBench; a call through C, as of a cached function, counts twice


def main() -> None:
    """Run the program of the job in the first argument."""
    job = marshal.loads(bytes.fromhex(sys.argv[1]))
    if job["mode"] == "bubblewrap":
        namespaces.mount_scratch(job["limits"])
    if rights.IS_LINUX:
        rights.drop_capabilities()
    rights.end_with_parent(VERDICT)
    rights.refuse_to_be_read()
    with open(SOURCE, encoding="utf-8", errors="surrogatepass") as file:
        source = file.read()  # Python itself rejects surrogates
    _report("{}")  # it began
    if job["has_tests"]:
        _with_tests(job, source)
    elif child := os.fork():
        _report_end_of(child, None)
        os._exit(0)
    else:
        _become_program(job, keep=())
        space = _module("__main__", job["lent"])
        try:
            exec(compile(source, "program.py", "exec", dont_inherit=True), space)
        except SystemExit:
            if not job["exit_is_success"]:
                raise


def _with_tests(job: dict[str, Any], source: str) -> NoReturn:
    """The tests here, the program in a child, and two pipes between them."""
    # Only if there are tests, as it takes a third of the start; before the fork, for both.
    from . import judge

    (to_program, asks), (hears, to_tests) = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        _become_program(job, keep=(to_program, to_tests))
        judge.serve(source, _module("program", job["lent"]), to_program, to_tests)
        os._exit(0)
    os.close(to_program)
    os.close(to_tests)
    with open(TESTS, encoding="utf-8") as file:
        tests = file.read()
    _confine(job, warns=True)
    verdict, has_ended = judge.report(tests, hears, asks)
    _report(verdict)
    # The program ends with this process, which does not wait for it. If it has ended already, its end is reported.
    _report_end_of(child, 1.0 if has_ended else 0.0)
    os._exit(0)


def _report(line: str) -> None:
    os.write(VERDICT, line.encode() + b"\n")


def _report_end_of(child: int, patience_s: float | None) -> None:
    """Report how the child ended, if it ends within so many seconds; None waits for it."""
    until = time.monotonic() + (patience_s or 0)
    pid, status, used = os.wait4(child, 0 if patience_s is None else os.WNOHANG)
    while not pid and time.monotonic() < until:
        time.sleep(0.01)
        pid, status, used = os.wait4(child, os.WNOHANG)
    if pid:
        code, cpu_s = os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime
        _report(f'{{"exit_code": {code}, "cpu_s": {cpu_s:.3f}}}')


def _become_program(job: dict[str, Any], *, keep: tuple[int, ...]) -> None:
    """Close everything that is not the program's, and drop all rights that it must not have."""
    rights.end_with_parent(VERDICT)
    for number in range(SOURCE, MOST_DESCRIPTORS):
        if number not in keep:
            with contextlib.suppress(OSError):
                os.close(number)
    _confine(job)
    sys.argv = ["program.py"]
    sys.setrecursionlimit(RECURSION_LIMIT)
    sys.set_int_max_str_digits(0)
    builtins.exit = builtins.quit = sys.exit  # pyright: ignore[reportAttributeAccessIssue] # `site` is not loaded


def _module(name: str, lent: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """The names of a new module, with those lent. It is in `sys.modules`, as dataclasses and pickles require."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    module.__dict__["__builtins__"] = builtins
    for lent_name, (origin, attribute) in lent.items():
        source = __import__(origin)
        module.__dict__[lent_name] = getattr(source, attribute) if attribute else source
    return module.__dict__


def _confine(job: dict[str, Any], *, warns: bool = False) -> None:
    """Restrict this process to its limits, folders and system calls."""
    rights.limit_resources(job["limits"], warns=warns)
    if job["mode"] == "landlock":
        landlock.confine([*job["readable"], *namespaces.DEVICES], [job["scratch"], "/dev/null"])
    if job["refuses_calls"]:
        shares_files = job["mode"] in ("landlock", "seccomp")
        seccomp.refuse(shares_files=shares_files, has_landlock=job["mode"] == "landlock")
