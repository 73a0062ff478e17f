"""Which code a run is made with: the commit, what was changed since, and the versions of what it stands on."""

import platform
import subprocess
from pathlib import Path

import torch

from omniopd import __version__

# What git knows and nobody else should read is not among what was changed.
_SECRETS = ":(exclude,glob)**/.env"


def code_tags(root: Path) -> dict[str, str]:
    """The versions of this package, Python and torch; and of the repository at root, if there is one, its commit."""
    tags = {
        "omniopd.version": __version__,
        "omniopd.python": platform.python_version(),
        "omniopd.torch": torch.__version__,
    }
    commit = head(root)
    if commit:
        tags |= {"mlflow.source.git.commit": commit, "omniopd.git.changed": str(is_changed(root)).lower()}
    return tags


def head(root: Path) -> str:
    """The commit that the repository at root stands on; empty where there is none."""
    return _git(root, "rev-parse", "HEAD").decode().strip()


def is_changed(root: Path) -> bool:
    """Whether files that git tracks differ from the commit."""
    return bool(_git(root, "status", "--porcelain", "--untracked-files=no").strip())


def changes(root: Path) -> bytes:
    """What makes the commit into the files that git tracks, for `git apply`; empty where nothing was changed."""
    return _git(root, "diff", "HEAD", "--binary", "--no-color", "--no-ext-diff", "--", ":(top)", _SECRETS)


def _git(root: Path, *arguments: str) -> bytes:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return done.stdout if done.returncode == 0 else b""
