"""Sums that name weights however an engine fuses, packs or splits them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from omniopd.models.adapters import PREFIX

MODULUS = 2**64
PIECE = 2**24  # values summed at once: what is copied meanwhile stays small
_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def weight_sum(weight: Tensor, dtype: torch.dtype) -> int:
    """Σ bits² modulo 2^64 over the values in that dtype, each read as an integer.

    Exact, and the same in any order and shape: the sum of a fused weight is that of its parts. A zero, as padding
    is, adds nothing; −0 counts as 0.
    """
    total = 0
    for piece in weight.detach().reshape(-1).split(PIECE):
        bits = (piece.to(dtype) + 0.0).view(_BITS[dtype.itemsize]).to(torch.int64)
        total += int((bits * bits).sum())
    return total % MODULUS


def weight_sums(weights: Iterable[tuple[str, Tensor]], dtype: torch.dtype) -> dict[str, int]:
    """The weight_sum of each, by its name."""
    return {name: weight_sum(weight, dtype) for name, weight in weights}


def adapter_sums(weights: Iterable[tuple[str, Tensor]], scale: float, dtype: torch.dtype) -> dict[str, int]:
    """The same of a saved adapter's weights as engines hold them: by names of the model, the scale in lora_B."""
    return weight_sums(
        (
            (name.removeprefix(PREFIX), weight.to(dtype) * scale if ".lora_B." in name else weight)
            for name, weight in weights
        ),
        dtype,
    )


def differing(expected: Mapping[str, int], held: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of weights that an engine's workers hold otherwise than expected; none where all are as they should be.

    held: what each worker says, as StudentWorker.held_sums returns it. A weight is split over the workers, or whole
    in each. Weights whose names are the engine's own are compared in one sum, with those that are left.
    """
    found, rest, rest_held = [], dict(expected), 0
    for name in sorted({name for worker in held for name in worker["sums"]}):
        own = [worker["sums"][name] for worker in held if name in worker["sums"]]
        parts = _parts(name, held[0]["fused"])
        if any(part not in rest for part in parts):
            rest_held += sum(own)
            continue
        whole = sum(rest.pop(part) for part in parts) % MODULUS
        if sum(own) % MODULUS != whole and set(own) != {whole}:
            found.append(name)
    if (sum(rest.values()) - rest_held) % MODULUS:
        found += sorted(rest) or ["a weight that the student does not have"]
    return found


def _parts(name: str, fused: Mapping[str, Sequence[str]]) -> list[str]:
    """The student's names of what an engine holds under that name.

    >>> _parts("model.layers.0.mlp.gate_up_proj.weight", {"gate_up_proj": ["gate_proj", "up_proj"]})
    ['model.layers.0.mlp.gate_proj.weight', 'model.layers.0.mlp.up_proj.weight']
    """
    path, _, kind = name.rpartition(".")
    path, dot, layer = path.rpartition(".")
    return [f"{path}{dot}{part}.{kind}" for part in fused[layer]] if layer in fused else [name]
