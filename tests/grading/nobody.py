"""A program in a sandbox that a user makes who owns nothing and has no rights."""

import marshal
import os
import subprocess
import tempfile
from typing import Any

import pytest

from omniopd.grading.code.sandbox.run import CODE, job_of

NOBODY = 65534


def as_nobody(mode: str, program: str) -> dict[str, Any]:
    """The supervisor's result, run by the system's Python as a user that owns nothing."""
    python = "/usr/bin/python3"
    version = subprocess.run(
        [python, "-c", "import sys; print(sys.version_info >= (3, 11))"], capture_output=True, text=True
    )
    if version.stdout != "True\n":
        pytest.skip("the system has no Python 3.11 that every user can read")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        os.chmod(place, 0o755)
        subprocess.run(["cp", "-r", str(CODE / "isolated"), place], check=True)
        subprocess.run(["chmod", "-R", "a+rX", place], check=True)
        job = job_of(mode, program)
        system = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache"]
        readable = [
            path for path in [*system, os.path.realpath(python), f"{place}/isolated"] if os.path.exists(path)
        ]
        job |= {"python": os.path.realpath(python), "code": place, "readable": readable, "temporary": "/tmp"}
        boot = f"import sys; sys.path.append({place!r}); from isolated.supervisor import main; main()"
        done = subprocess.run(
            [python, "-I", "-S", "-B", "-c", boot], input=marshal.dumps(job), capture_output=True, check=True,
            user=NOBODY, group=NOBODY, extra_groups=[], env={}, cwd="/",
        )  # fmt: skip
    return marshal.loads(done.stdout)
