"""Flows and commands in processes of their own, as a user starts them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from projects import REPOSITORY, Project

TESTS = Path(__file__).parent
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"},
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{TESTS}",
    "DVC_NO_ANALYTICS": "1",
}


def start(project: Project, *command: str) -> subprocess.Popen[str]:
    """A command in the project's folder, in a process group of its own."""
    return subprocess.Popen(
        list(command),
        cwd=project.root,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=_heeds_ctrl_c,
    )


def _heeds_ctrl_c() -> None:
    """As in a terminal, also where the tests themselves run in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start_flow(project: Project, arm: str = "omniopd", *settings: str) -> subprocess.Popen[str]:
    """`python -m flows distill`, each of the settings as --set."""
    overrides = [word for setting in settings for word in ("--set", setting)]
    return start(project, sys.executable, "-m", "flows", "distill", "--arm", arm, *overrides)


def finished(process: subprocess.Popen[str], *, within_s: float = 480) -> str:
    """What a command printed that ended well."""
    output, _ = process.communicate(timeout=within_s)
    assert process.returncode == 0, output
    return output


def wait_until(
    happened: Callable[[], bool], process: subprocess.Popen[str] | None = None, *, within_s: float = 480
) -> None:
    """Return when it has happened; the process must not end before."""
    deadline = time.monotonic() + within_s
    while not happened():
        assert process is None or process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def processes_in(root: Path) -> list[str]:
    """The commands of the Python processes whose working folder that is."""
    commands = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(root) and process.status() != psutil.STATUS_ZOMBIE:
                commands.append(" ".join(process.cmdline()))
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return commands


def all_ended(root: Path, *, within_s: float = 15) -> bool:
    """Whether no process is left there, or will be before long."""
    deadline = time.monotonic() + within_s
    while processes_in(root):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
