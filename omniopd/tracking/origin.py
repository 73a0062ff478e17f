"""The code that a run is made with: commit, uncommitted changes, and versions."""

import platform
import subprocess
from pathlib import Path

import torch

from omniopd import __version__

_SECRETS = ":(exclude,glob)**/.env"  # may be in git, but should go no further


def code_tags(root: Path) -> dict[str, str]:
    """The versions of this package, Python and torch; and the commit of the git repository at root, if any."""
    tags = {
        "omniopd.version": __version__,
        "omniopd.python": platform.python_version(),
        "omniopd.torch": torch.__version__,
    }
    if commit := _git(root, "rev-parse", "HEAD").decode().strip():
        is_changed = bool(_git(root, "status", "--porcelain", "--untracked-files=no").strip())
        tags |= {"mlflow.source.git.commit": commit, "omniopd.git.changed": str(is_changed).lower()}
    return tags


def changes(root: Path) -> bytes:
    """The uncommitted changes to files that git tracks, as a patch for `git apply`; empty where there are none."""
    return _git(root, "diff", "HEAD", "--binary", "--no-color", "--no-ext-diff", "--", ":(top)", _SECRETS)


def _git(root: Path, *arguments: str) -> bytes:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return done.stdout if done.returncode == 0 else b""
