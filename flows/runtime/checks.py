"""What every flow does before it begins, whoever started it: check the settings, keep the log."""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from omniopd.command import warn
from omniopd.config import Params


def checked(params_file: Path, overrides: Mapping[str, Any] | None = None) -> Params:
    """The settings, with every mistake found before work starts; warnings are printed once.

    Raises:
        ConfigError, DataError, ModelError: see omniopd.preflight.check.
    """
    text = params_file.read_bytes() if params_file.is_file() else b""
    return _checked(params_file, text, json.dumps(overrides or {}, sort_keys=True))


@lru_cache(maxsize=8)
def _checked(params_file: Path, text: bytes, overrides: str) -> Params:
    del text
    from omniopd.preflight.check import check

    params, warnings, _ = check(params_file, json.loads(overrides))
    warn(warnings)
    return params
