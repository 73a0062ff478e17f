"""Checks that a model's weights fit its configuration, and are finite."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from omniopd.errors import ModelError

NUM_NAMED = 3  # tensors that a message names
FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def check_loading(name: str, model: PreTrainedModel, report: Mapping[str, Any]) -> None:
    """Raise where loading initialised weights at random, or dropped some of the model's layers.

    Heads for other tasks may be dropped. transformers' missing keys exclude tied weights, and those that a model's
    class ignores.

    Args:
        name: The directory or hub name.
        model: The loaded model.
        report: The output_loading_info of `from_pretrained`.

    Raises:
        ModelError: naming a few of the tensors.
    """
    if wrong := sorted(report["mismatched_keys"]):
        key, saved, described = wrong[0]
        raise ModelError(
            f"{name}: config.json describes other shapes than the weights have: {key} is {_shape(saved)} in the file, "
            f"and {_shape(described)} by config.json{_others(wrong[1:])}; save the model there again, or restore its "
            "config.json"
        )
    if missing := sorted(report["missing_keys"]):
        raise ModelError(
            f"{name}: the files lack {len(missing)} of the weights that config.json describes, which would be filled "
            f"at random ({_named(missing)}); save the model there again, or restore its config.json"
        )
    if lost := lost_weights(report["unexpected_keys"], model.state_dict()):
        raise ModelError(
            f"{name}: config.json describes a smaller model than the files hold, so that {len(lost)} of its weights "
            f"would be dropped ({_named(lost)}); restore its config.json"
        )


def lost_weights(unexpected: Iterable[str], expected: Iterable[str]) -> list[str]:
    """The unexpected weights that belong to layers of a model with the expected ones, sorted.

    >>> lost_weights(["layers.1.up.weight", "v_head.weight"], ["layers.0.up.weight"])
    ['layers.1.up.weight']

    A bias needs an expected weight in its layer: older files have causal masks of that name.
    """
    patterns = {_pattern(key) for key in expected}
    modules = {pattern.rpartition(".")[0] for pattern in patterns}
    stacks = {pattern[: pattern.index("*") + 1] for pattern in patterns if "*" in pattern}

    def is_lost(key: str) -> bool:
        pattern = _pattern(key)
        module, _, kind = pattern.rpartition(".")
        in_stack = "*" in pattern and pattern[: pattern.index("*") + 1] in stacks
        return (kind == "weight" and in_stack) or (kind in ("weight", "bias") and module in modules)

    return sorted(filter(is_lost, unexpected))


def check_finite(name: str, weights: Iterable[tuple[str, Tensor]]) -> None:
    """Raise where a weight is NaN or infinite, in one pass and without copies.

    Raises:
        ModelError: naming a few of the tensors.
    """
    named = [(key, weight) for key, weight in weights if weight.dtype in FLOATS and weight.numel()]
    if not named:
        return
    with torch.inference_mode():
        # Minimum and maximum are NaN where any value is.
        ends = [torch.stack(torch.aminmax(weight)).double() for _, weight in named]
        is_finite = torch.stack([end.to(ends[0].device) for end in ends]).isfinite().all(1).tolist()
    if broken := [key for (key, _), finite in zip(named, is_finite, strict=True) if not finite]:
        raise ModelError(
            f"{name}: {len(broken)} of the weights hold NaN or infinity ({_named(broken)}); take an earlier or "
            "another copy of the model"
        )


def check_numbers(name: str, config: PretrainedConfig) -> None:
    """Raise where a configuration has NaN.

    Raises:
        ModelError: naming the key.
    """
    if key := next(_nan_keys(config.to_dict(), ""), None):
        raise ModelError(f"{name}: its config.json cannot be used ({key} is NaN); restore its config.json")


def _nan_keys(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _nan_keys(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _nan_keys(inner, path)
    elif isinstance(value, float) and math.isnan(value):
        yield path


def _pattern(key: str) -> str:
    return re.sub(r"(?<=\.)\d+(?=\.)", "*", key)


def _named(keys: list[str]) -> str:
    return ", ".join(keys[:NUM_NAMED]) + _others(keys[NUM_NAMED:])


def _others(rest: list[Any]) -> str:
    return f" and {len(rest)} more" if rest else ""


def _shape(shape: Iterable[int]) -> str:
    return " × ".join(map(str, shape)) or "a single number"
