"""DVC: the outputs of runs are recorded in it, and any version of a file is looked up by its md5.

DVC itself records a run that `dvc repro` started; `commit` records one that another program started.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from omniopd.data.store import file_md5, write_atomic
from omniopd.errors import DataError

if TYPE_CHECKING:
    from dvc.repo import Repo

_BUSY = re.compile(r"Unable to acquire lock|is being blocked by")


@dataclass(frozen=True)
class Place:
    """Where a file is available.

    >>> Place("remote", "storage").kind
    'remote'
    """

    kind: Literal["workspace", "cache", "remote"]
    name: str  # the file's path; or the remote's name


def is_recorded_here(root: Path) -> bool:
    """Whether root is a DVC project and this process must record outputs: not in a stage that DVC runs.

    DVC records the outputs of a stage when it ends, and refuses to do so before.
    """
    return _is_project(root) and not os.environ.get("DVC_STAGE")


def init_project(root: Path) -> None:
    """Set up DVC in a folder, unless it is within a DVC project; in a git repository as part of it.

    Raises:
        DataError: DVC refuses.
    """
    folders = (root.resolve(), *root.resolve().parents)
    if any((folder / ".dvc").is_dir() for folder in folders):
        return
    repository = next((folder for folder in folders if (folder / ".git").exists()), None)
    how = [] if repository == folders[0] else ["--subdir"] if repository else ["--no-scm"]
    command = [sys.executable, "-m", "dvc", "init", "--quiet", *how]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DataError(
            f"{root}: dvc init failed ({_last_line(done.stderr)}); run it there and read what it says"
        )


def commit(root: Path, stages: Sequence[str]) -> str | None:
    """Record the outputs of stages of root's dvc.yaml. Returns a sentence if that was not possible."""
    if not is_recorded_here(root):
        return None
    command = ["dvc", "commit", "--force", *stages]
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return None
    busy = _BUSY.search(done.stderr)
    reason = "another dvc process is running here" if busy else _last_line(done.stderr)
    return f"DVC did not record {', '.join(stages)} ({reason}); resolve that, then run `{' '.join(command)}`"


def remotes(root: Path) -> list[str] | None:
    """The names of a DVC project's remotes, the default first; None if root is not a DVC project."""
    return Store(root).remotes if _is_project(root) else None


class Store:
    """The cache and the remotes of a DVC project; empty for any other folder."""

    def __init__(self, root: Path):
        self._root = root
        self.problems: dict[str, str] = {}
        """Why a remote could not be searched, by name."""

    def find(self, digests: Iterable[str]) -> dict[str, Place]:
        """Where files with these md5s are: in the cache, or else in a remote. Missing ones are left out."""
        missing = sorted(set(digests))
        places: dict[str, Place] = {}
        for digest in missing:
            if self._repo is not None and os.path.exists(path := self._repo.cache.local.oid_to_path(digest)):
                places[digest] = Place("cache", path)
        for name in self.remotes:
            missing = [digest for digest in missing if digest not in places]
            places |= dict.fromkeys(self._in_remote(name, missing), Place("remote", name))
        return places

    def copy(self, digest: str, place: Place, to: Path) -> None:
        """Copy the file from its place, atomically, and only if its md5 is right.

        Raises:
            DataError: it is another file, or cannot be read.
        """

        def fetch(partial: Path) -> None:
            if place.kind == "remote":
                remote = self._remote(place.name)
                remote.fs.get_file(remote.oid_to_path(digest), str(partial))
            else:
                shutil.copyfile(place.name, partial)
            if (actual := file_md5(partial)) != digest:
                raise DataError(f"{place.kind} {place.name}: has md5 {actual} for {digest}; delete it there")

        try:
            write_atomic(to, fetch)
        except OSError as error:
            raise DataError(f"{to}: cannot be copied from {place.kind} {place.name} ({error})") from error

    @cached_property
    def _repo(self) -> "Repo | None":
        if not _is_project(self._root):
            return None
        from dvc.repo import Repo

        return Repo(str(self._root))

    @property
    def remotes(self) -> list[str]:
        """Their names, the default remote first."""
        if self._repo is None:
            return []
        default = self._repo.config["core"].get("remote")
        return sorted(self._repo.config["remote"], key=lambda name: (name != default, name))

    def _remote(self, name: str) -> Any:
        assert self._repo is not None
        return self._repo.cloud.get_remote_odb(name)

    def _in_remote(self, name: str, digests: Sequence[str]) -> list[str]:
        if not digests:
            return []
        try:
            remote = self._remote(name)
            return [digest for digest in digests if remote.exists(digest)]
        except Exception as error:  # each kind of remote raises errors of its own
            self.problems[name] = _last_line(str(error)) or type(error).__name__
            return []


def _is_project(root: Path) -> bool:
    folder = root.resolve()
    has_dvc = any((above / ".dvc").is_dir() for above in (folder, *folder.parents))
    return has_dvc and (folder / "dvc.yaml").is_file()


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if line.startswith("ERROR")), lines[-1] if lines else "")
