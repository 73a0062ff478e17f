"""Commands run in this process, or started as a user starts them."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from omniopd.cli import app as cli
from omniopd.command import run as run_program


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str, of: ModuleType = cli) -> int:
    """The exit code of a command, run in this process."""
    monkeypatch.setattr(sys, "argv", ["omniopd", *arguments])
    with pytest.raises(SystemExit) as caught:
        run_program(of.app)
    assert isinstance(caught.value.code, int)
    return caught.value.code


def start(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A command as a user starts it."""
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def omniopd(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return start(folder, str(Path(sys.executable).with_name("omniopd")), *arguments)


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
