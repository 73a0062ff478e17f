"""Files of settings: params.yaml, and the file of a benchmark."""

from pathlib import Path
from typing import Any

from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import YAMLError

from omniopd.config.overrides import check_values, read_yaml
from omniopd.errors import ConfigError


def read_settings(path: Path, *, where: str, example: str) -> dict[str, Any]:
    """The settings in a YAML file; not yet those of a schema.

    Args:
        path: The file.
        where: The remedy if there is no such file.
        example: A file to start from, for the message if this one is empty.

    Raises:
        ConfigError: there is no such file, it is not YAML or holds no settings, or one that no record can hold.
    """
    raw = _read(path, where)
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: holds no settings; start from {example}")
    check_values(raw, str(path))
    return raw


def _read(path: Path, where: str) -> Any:
    try:
        return read_yaml(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file; {where}") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); name a file of settings") from error
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        problem = " ".join(str(error.problem).split())
        raise ConfigError(f"{path}:{line}: {problem}; delete one of the two") from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}; fix the line") from error
