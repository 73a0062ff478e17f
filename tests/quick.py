"""What `make test` runs of tests with many parameters; `make test-all` runs the rest too."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pytest


def quick(values: Iterable[Any], *, keep: Collection[Any]) -> list[Any]:
    """Parameters, of which `make test` takes those to keep.

    Of a mapping its values, under their names, by which those to keep are named.
    """
    named = values if isinstance(values, Mapping) else {value: value for value in values}
    assert set(keep) <= set(named), "there is no such parameter"
    return [
        pytest.param(value, id=str(name), marks=() if name in keep else pytest.mark.slow)
        for name, value in named.items()
    ]
