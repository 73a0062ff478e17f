"""What the suite leaves in the checkout, which shall be nothing."""

from fnmatch import fnmatch
from pathlib import Path

import pytest

CACHES = (".*_cache", "__pycache__", ".coverage*", ".hypothesis")


class Guard:
    """A plugin of pytest that fails a session after which the root has more files or folders than before."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._before = _entries(root)
        self._left: list[str] = []

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        self._left = sorted(_entries(self._root) - self._before)
        if self._left and exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._left:
            names = ", ".join(self._left)
            terminalreporter.write_line(
                f"{self._root}: the tests left {names}; let each write to a temporary folder", red=True
            )


def _entries(root: Path) -> set[str]:
    names = {path.name for path in root.iterdir()}
    return {name for name in names if not any(fnmatch(name, cache) for cache in CACHES)}
