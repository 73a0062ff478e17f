"""The check of the settings that every flow makes before it starts."""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from omniopd.command import warn
from omniopd.config import Params


def checked(params_file: Path, overrides: Mapping[str, Any] | None = None) -> Params:
    """The checked settings; warnings are printed once per process.

    Raises:
        ConfigError, DataError, ModelError: see omniopd.preflight.check.
    """
    text = params_file.read_bytes() if params_file.is_file() else b""
    return _checked(params_file, text, json.dumps(overrides or {}, sort_keys=True))


@lru_cache(maxsize=8)
def _checked(params_file: Path, text: bytes, overrides: str) -> Params:
    del text  # part of the cache's key
    from omniopd.preflight.check import check

    params, warnings, _ = check(params_file, json.loads(overrides))
    warn(*warnings)
    return params
