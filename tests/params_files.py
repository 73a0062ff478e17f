"""Files of settings for tests: those of the repository with some values replaced, and the errors that they give."""

import copy
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from omniopd.config import as_yaml, load_params
from omniopd.config.schema.params import Methods
from omniopd.errors import ConfigError

ROOT = Path(__file__).parents[1]
TOO_LONG = (
    "chunk_len is {chunk_len}, longer than the longest response (rollout.max_new_tokens is {room}), "
    "so nothing would be audited; make chunks shorter or responses longer"
)
METHODS = ", ".join(Methods.model_fields)
REMOVED = object()
# What the messages below quote, so that they do not change with what the repository is tuned to.
PINNED: dict[str, Any] = {
    "seeds": [0],
    "ablations": {},
    "comparison.against": "omniopd",
    "methods.omniopd.chunk_len": 2,
    "methods.omniopd.beta": 0.1,
    "rollout.max_new_tokens": 48,
    "rollout.num_samples": 1,
    "rollout.batch_size": 128,
    "models.demo.teacher.width": 96,
    "arms": {
        "omniopd": {"method": "omniopd"},
        "omniopd-baseline": {"method": "omniopd", "settings": {"baseline": "batch"}},
    },
}


@cache
def _every_setting() -> str:
    return as_yaml(load_params(ROOT / "params.yaml"))


def edited(folder: Path, edits: Mapping[str, Any]) -> Path:
    """Every setting of the repository, with values replaced or removed by their dotted path, as a file in `folder`."""
    yaml = YAML(typ="safe", pure=True)
    raw = yaml.load(_every_setting())
    for place, value in {**copy.deepcopy(PINNED), **edits}.items():
        *parents, last = place.split(".")
        block = raw
        for name in parents:
            block = block[name]
        if value is REMOVED:
            del block[last]
        else:
            block[last] = value
    path = folder / "params.yaml"
    yaml.dump(raw, path)
    return path


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "params.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(path: Path) -> list[str]:
    """The lines of the error, each with the file's name alone in place of its path."""
    with pytest.raises(ConfigError) as caught:
        load_params(path)
    return str(caught.value).replace(str(path), path.name).splitlines()
