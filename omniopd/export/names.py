"""Models and files by names that can be published: hub names, and paths within the project."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_ABSOLUTE = re.compile(r"/[^\s/]+(/[^\s/]+)+/?")  # of several folders
_SNAPSHOT = re.compile(r"models--([\w.-]+?)--([\w.-]+)/snapshots/")  # in the hub's cache


def public_name(name: str, root: Path) -> str:
    """The name of a model or file of params.yaml without the folders of this machine; root is that of params.yaml.

    >>> public_name("Qwen/Qwen3-4B", Path(".")), public_name("/data/models/qwen", Path("."))
    ('Qwen/Qwen3-4B', 'qwen')
    >>> public_name("/home/ada/hub/models--Qwen--Qwen3-4B/snapshots/1cfa9a72", Path("."))
    'Qwen/Qwen3-4B'
    """
    if cached := _SNAPSHOT.search(name):
        return f"{cached[1]}/{cached[2]}"
    path, within = Path(os.path.normpath(name)), Path(os.path.abspath(root))
    if path.is_absolute() and path.is_relative_to(within):
        return path.relative_to(within).as_posix()
    if path.is_absolute() or name.startswith("~") or ".." in path.parts:
        return path.name
    return name


def without_paths(value: Any, root: Path) -> Any:
    """Settings with public names in place of texts that are an absolute path.

    >>> without_paths({"engine": {"download_dir": "/data/hub"}, "system": "/no_think"}, Path("."))
    {'engine': {'download_dir': 'hub'}, 'system': '/no_think'}
    """
    if isinstance(value, Mapping):
        return {name: without_paths(item, root) for name, item in value.items()}
    if isinstance(value, list):
        return [without_paths(item, root) for item in value]
    is_path = isinstance(value, str) and _ABSOLUTE.fullmatch(value)
    return public_name(value, root) if is_path else value


def is_on_hub(name: str, root: Path) -> bool:
    """Whether a name of params.yaml is owner/name on the hub, rather than a directory."""
    public = public_name(name, root)
    return bool(HUB_NAME.fullmatch(public)) and not (root / public).exists()
