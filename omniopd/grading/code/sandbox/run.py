"""One program in one sandbox: a process beside it, `isolated.supervisor`, holds it, and outlives neither."""

import json
import marshal
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omniopd.errors import ProcessError
from omniopd.grading.code.sandbox.isolated import seccomp
from omniopd.grading.code.sandbox.records import Limits, Outcome, Tests

SANDBOX_FAILED = "the sandbox failed"  # the reason of such an outcome
GRACE_S = 30  # for the process beside a program to start, and to clean up
CODE = Path(__file__).parent  # the folder of the package `isolated`
_BOOT = f"import sys; sys.path.append({str(CODE)!r}); from isolated.supervisor import main; main()"
_REPORTED = {"reason": str, "exit_code": int, "cpu_s": float}
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/usr/share/zoneinfo",
              "/etc/localtime", "/nix/store")  # fmt: skip


def run_in(
    mode: str,
    program: str,
    *,
    stdin: str = "",
    limits: Limits | None = None,
    tests: Tests | None = None,
    lent: Mapping[str, tuple[str, str]] | None = None,
    exit_is_success: bool = False,
) -> Outcome:
    """How the program ended in the mode of that name, as `run_program` says.

    Raises:
        ProcessError: the program could not be run at all.
    """
    limits = limits or Limits()
    try:
        job = job_of(
            mode, program, stdin=stdin, limits=limits, tests=tests, lent=lent, exit_is_success=exit_is_success
        )
        found = _supervised([job["python"], "-I", "-S", "-X", "utf8", "-c", _BOOT], job)
    except (OSError, ValueError, TypeError, EOFError, RecursionError, MemoryError) as error:
        raise _error(mode, f"{type(error).__name__}: {error}") from error
    if "failed" in found or not found["began"]:
        raise _error(
            mode, found.get("failed") or found["stderr"].strip()[-300:] or "it ended before it began"
        )
    return _outcome(found, limits, has_tests=tests is not None)


def failed(why: str, *, has_tests: bool) -> Outcome:
    """The outcome of a program whose sandbox failed, on a machine that runs others."""
    passed = False if has_tests else None
    return Outcome("", why, exit_code=None, limit="", passed=passed, reason=SANDBOX_FAILED, wall_s=0.0)


def _error(mode: str, why: str) -> ProcessError:
    return ProcessError(f"a program could not be run in the sandbox {mode!r}: {why}; see docs/grading.md")


def job_of(
    mode: str,
    program: str,
    *,
    stdin: str,
    limits: Limits,
    tests: Tests | None,
    lent: Mapping[str, tuple[str, str]] | None = None,
    exit_is_success: bool = False,
) -> dict[str, Any]:
    """What the process beside a program is told."""
    python = os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)
    return {
        "mode": mode,
        "program": program,
        "stdin": stdin,
        "tests": None if tests is None else json.dumps(tests.as_record()),
        "lent": dict(lent or {}),
        "exit_is_success": exit_is_success,
        "limits": asdict(limits),
        "caller": os.getpid(),
        "temporary": tempfile.gettempdir(),
        "python": python,
        "code": str(CODE),
        "readable": _readable(python),
        "bwrap": shutil.which("bwrap"),
        "refuses_calls": mode != "limits" and seccomp.is_known(os.uname().machine),
    }


def _readable(python: str) -> list[str]:
    """The files and folders that a program reads: Python, its library, the system's libraries and `isolated`."""
    library = os.path.join(sys.base_prefix, "lib")
    wanted = [python, library, sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), *_LIBRARIES]
    found = sorted(
        {os.path.abspath(path) for path in [*wanted, str(CODE / "isolated")] if os.path.exists(path)}
    )
    return [path for path in found if not any(path.startswith(other + "/") for other in found)]


def _supervised(command: list[str], job: dict[str, Any]) -> dict[str, Any]:
    """What the process beside the program found. It is ended, and ends the program, where this call is broken off."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={}, start_new_session=True
    )  # fmt: skip
    try:
        text, errors = process.communicate(marshal.dumps(job), job["limits"]["wall_s"] + GRACE_S)
    except subprocess.TimeoutExpired:
        raise ProcessError(
            f"the process beside a program did not end it within {GRACE_S} s of its limit; is the machine overloaded?"
        ) from None
    finally:
        _end(process)
    if process.returncode:
        said = errors.decode(errors="replace").strip()[-300:]
        raise ProcessError(f"the process beside a program ended with {process.returncode}: {said}")
    return _read(marshal.loads(text))


def _read(found: dict[str, Any]) -> dict[str, Any]:
    """What was found, with texts for bytes. `inside` writes a line when it begins, and others on how it went."""
    if "failed" in found:
        return found
    texts = {name: found[name].decode("utf-8", "replace") for name in ("stdout", "stderr")}
    lines = [_line(line) for line in found["verdict"].split(b"\n")[:-1]]
    verdicts = [line["passed"] for line in lines if "passed" in line]
    has_passed = len(verdicts) == 1 and verdicts[0] is True
    report: dict[str, Any] = {"began": bool(lines)}
    for line in lines:
        report |= {name: value for name, value in line.items() if type(value) is _REPORTED.get(name)}
    return found | report | texts | {"passed": has_passed}


def _line(line: bytes) -> dict[str, Any]:
    """What a line of the report says; nothing where it is none."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()  # it ends the program and cleans up
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            pipe.close()


def _outcome(found: dict[str, Any], limits: Limits, *, has_tests: bool) -> Outcome:
    code = found.get("exit_code")
    limit = found["limit"]
    # The kernel counts the limit in ticks and what was used exactly; on a busy machine they differ.
    if not limit and code in (-signal.SIGKILL, -signal.SIGXCPU) and found.get("cpu_s", 0) >= limits.cpu_s / 2:
        limit = "time"
    passed = found["passed"] and not limit
    return Outcome(
        stdout=found["stdout"],
        stderr=found["stderr"],
        exit_code=code,
        limit=limit,
        passed=passed if has_tests else None,
        reason="" if passed else _reason(found, limit, has_tests=has_tests),
        wall_s=found["wall_s"],
    )


def _reason(found: dict[str, Any], limit: str, *, has_tests: bool) -> str:
    """Why tests did not pass; a process of tests that ended without a word was ended by what it was given."""
    if limit and has_tests:
        return f"too much {limit}" if limit != "threads" else "too many threads"
    if has_tests:
        return found.get("reason") or "the tests ended early"
    return "" if limit or "exit_code" in found else "the sandbox ended early"
