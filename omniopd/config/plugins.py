"""Classes that settings name as package.module:Class."""

import importlib
import sys
from pathlib import Path

from omniopd.config.messages import one_line
from omniopd.errors import ConfigError


def make_importable(root: Path) -> None:
    """Let settings name classes of modules that lie beside params.yaml, also where a console script reads them."""
    folder = str(root.resolve())
    if folder not in sys.path:
        sys.path.append(folder)


def imported(name: str) -> object:
    """What package.module:Class names.

    Raises:
        ConfigError: it cannot be imported.
    """
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{name!r} cannot be imported ({one_line(str(error))}); fix it, or install its package"
        ) from error
