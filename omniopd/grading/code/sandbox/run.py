"""One program in one sandbox, started and watched by a separate process, `isolated.supervisor`."""

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
from omniopd.grading.code.sandbox.records import Limits, Outcome, Tests, exceeded

GRACE_S = 30  # for the supervisor to start, and to clean up
CODE = Path(__file__).parent  # the folder of the package `isolated`
_BOOT = f"import sys; sys.path.append({str(CODE)!r}); from isolated.supervisor import main; main()"
_REPORTED = {"reason": str, "exit_code": int, "cpu_s": float}
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/usr/share/zoneinfo",
              "/etc/localtime", "/nix/store")  # fmt: skip
Job = dict[str, Any]


def run_in(mode: str, program: str, **options: Any) -> Outcome:
    """How the program ended in the mode of that name; the options are those of `job_of`.

    Raises:
        ProcessError: the program could not be run at all.
    """
    try:
        job = job_of(mode, program, **options)
        if mode == "bubblewrap" and not job["bwrap"]:
            raise _error(mode, "bwrap is not installed")
        result = _supervised([job["python"], "-I", "-S", "-X", "utf8", "-c", _BOOT], job)
    except (OSError, ValueError, TypeError, EOFError, RecursionError, MemoryError) as error:
        raise _error(mode, f"{type(error).__name__}: {error}") from error
    if "failed" in result or not result["began"]:
        why = result.get("failed") or result["stderr"].strip()[-300:] or "it ended before it began"
        raise _error(mode, why)
    return _outcome(result, job)


def job_of(
    mode: str,
    program: str,
    *,
    stdin: str = "",
    limits: Limits | None = None,
    tests: Tests | None = None,
    lent: Mapping[str, tuple[str, str]] | None = None,
    exit_is_success: bool = False,
) -> Job:
    """The job of the supervisor; arguments as in `run_program`.

    Raises:
        TypeError, ValueError, RecursionError: the tests cannot be written as JSON.
        FileNotFoundError: no temporary directory is writable.
    """
    python = os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)
    return {
        "mode": mode,
        "program": program,
        "stdin": stdin,
        "tests": None if tests is None else json.dumps(vars(tests)),
        "lent": dict(lent or {}),
        "exit_is_success": exit_is_success,
        "limits": asdict(limits or Limits()),
        "caller": os.getpid(),
        "temporary": tempfile.gettempdir(),
        "python": python,
        "code": str(CODE),
        "readable": _readable(python),
        "bwrap": shutil.which("bwrap"),
        "refuses_calls": mode != "limits" and seccomp.is_known(os.uname().machine),
    }


def _error(mode: str, why: str) -> ProcessError:
    return ProcessError(f"a program could not be run in the sandbox {mode!r}: {why}; see docs/grading.md")


def _readable(python: str) -> list[str]:
    """The paths that a program may read: Python, its library, the system's libraries and `isolated`."""
    library = os.path.join(sys.base_prefix, "lib")
    stdlib, platstdlib = sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")
    wanted = [python, library, stdlib, platstdlib, *_LIBRARIES, str(CODE / "isolated")]
    paths = {os.path.abspath(path) for path in wanted if os.path.exists(path)}
    return sorted(path for path in paths if not any(path.startswith(f"{other}/") for other in paths))


def _supervised(command: list[str], job: Job) -> dict[str, Any]:
    """The supervisor's result. If this call is interrupted, the supervisor is ended and ends the program."""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={}, start_new_session=True
    ) as process:  # fmt: skip
        try:
            text, errors = process.communicate(marshal.dumps(job), job["limits"]["wall_s"] + GRACE_S)
        except subprocess.TimeoutExpired:
            raise ProcessError(
                f"the supervisor of a program did not end it within {GRACE_S} s of its limit; is the machine "
                "overloaded?"
            ) from None
        finally:
            _end(process)
    if process.returncode:
        stderr = errors.decode(errors="replace").strip()[-300:]
        raise ProcessError(f"the supervisor of a program ended with {process.returncode}: {stderr}")
    return _read(marshal.loads(text))


def _read(result: dict[str, Any]) -> dict[str, Any]:
    """The result, decoded. The verdict has a line from `inside` when it begins, and lines on how it went."""
    if "failed" in result:
        return result
    texts = {name: result[name].decode("utf-8", "replace") for name in ("stdout", "stderr")}
    lines = [_parsed_line(line) for line in result["verdict"].split(b"\n")[:-1]]
    verdicts = [line["passed"] for line in lines if "passed" in line]
    has_passed = len(verdicts) == 1 and verdicts[0] is True
    report: dict[str, Any] = {"began": bool(lines)}
    for line in lines:
        report |= {name: value for name, value in line.items() if type(value) is _REPORTED.get(name)}
    return result | report | texts | {"passed": has_passed}


def _parsed_line(line: bytes) -> dict[str, Any]:
    """The JSON object in a line of the verdict; empty if it is anything else."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()  # if it runs yet, it ends the program and cleans up
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _outcome(result: dict[str, Any], job: Job) -> Outcome:
    exit_code, limit, has_tests = result.get("exit_code"), result["limit"], job["tests"] is not None
    # The kernel counts the limit in ticks but reports exact usage; on a busy machine they differ.
    is_killed = exit_code in (-signal.SIGKILL, -signal.SIGXCPU)
    if not limit and is_killed and result.get("cpu_s", 0) >= job["limits"]["cpu_s"] / 2:
        limit = "time"
    passed = result["passed"] and not limit
    if passed:
        reason = ""
    elif has_tests:  # a process of tests that reported nothing was ended by the program's values
        reason = exceeded(limit) if limit else result.get("reason") or "the tests ended early"
    else:
        reason = "" if limit or "exit_code" in result else "the sandbox ended early"
    return Outcome(
        stdout=result["stdout"],
        stderr=result["stderr"],
        exit_code=exit_code,
        limit=limit,
        passed=passed if has_tests else None,
        reason=reason,
        wall_s=result["wall_s"],
    )
