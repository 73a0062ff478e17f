"""Import of classes that settings name as package.module:Class."""

import importlib
import sys
from pathlib import Path

from omniopd.errors import ConfigError, one_line


def make_importable(root: Path) -> None:
    """Make modules next to params.yaml importable, also from a console script."""
    folder = str(root.resolve())
    if folder not in sys.path:
        sys.path.append(folder)


def imported(name: str) -> object:
    """The object named by package.module:Class.

    Raises:
        ConfigError: it cannot be imported.
    """
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{name!r} cannot be imported ({one_line(error)}); fix it, or install its package"
        ) from error
