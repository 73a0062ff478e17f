"""Weight sync from the trainer to an engine's processes: through memory, where there is room, and checked by sums."""

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import PreTrainedModel

from omniopd.data.processes import has_ended, this_process
from omniopd.models.adapters import PREFIX, adapter_state, has_adapter, save_adapter

SHARED_MEMORY = Path("/dev/shm")
FOLDER_PREFIX = "omniopd-weights"
MODULUS = 2**64
PIECE = 2**24  # values summed at once, which limits the memory for copies
_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


@contextmanager
def exported(model: PreTrainedModel) -> Iterator[str]:
    """For the block, a folder with the model, or with its adapter alone where it has one.

    It is in memory if that has room for the weights twice. Folders of killed processes are removed from there first.
    """
    for folder in SHARED_MEMORY.glob(f"{FOLDER_PREFIX}.*"):
        if has_ended(folder.name.split(".")[1]):
            shutil.rmtree(folder, ignore_errors=True)
    state = adapter_state(model) if has_adapter(model) else model.state_dict()
    size = sum(weight.numel() * weight.element_size() for weight in state.values())
    has_room = SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free > 2 * size
    place = SHARED_MEMORY if has_room else None
    with tempfile.TemporaryDirectory(dir=place, prefix=f"{FOLDER_PREFIX}.{this_process()}.") as folder:
        if has_adapter(model):
            save_adapter(Path(folder), model, state, base=str(model.config.name_or_path))
        else:
            model.save_pretrained(folder)
        yield folder


def saved_weights(folder: str) -> Iterator[tuple[str, Tensor]]:
    """The names and weights of a model or an adapter in a directory, one at a time."""
    for file in sorted(Path(folder).glob("*.safetensors")):
        with safe_open(file, "pt") as weights:
            for name in weights.keys():  # noqa: SIM118
                yield name, weights.get_tensor(name)


def weight_sum(weight: Tensor, dtype: torch.dtype) -> int:
    """Σ b(b + 1) modulo 2^64 over the values in that dtype, each read as an integer b.

    Exact, and the same in any order and shape: the sum of a fused weight is that of its parts. Zeros, as in padding,
    add nothing; −0 counts as 0. Any flipped bit changes it: b and −1 − b, which differ in all bits, alone are equal.
    """
    total = 0
    for piece in weight.detach().reshape(-1).split(PIECE):
        bits = (piece.to(dtype) + 0.0).view(_BITS[dtype.itemsize]).to(torch.int64)
        total += int((bits * (bits + 1)).sum())
    return total % MODULUS


def weight_sums(weights: Iterable[tuple[str, Tensor]], dtype: torch.dtype) -> dict[str, int]:
    """The weight_sum of each weight, by name."""
    return {name: weight_sum(weight, dtype) for name, weight in weights}


def adapter_sums(weights: Iterable[tuple[str, Tensor]], scale: float, dtype: torch.dtype) -> dict[str, int]:
    """The sums of a saved adapter's weights as engines load them: under names of the model, lora_B scaled."""
    return {
        name.removeprefix(PREFIX): weight_sum(
            weight.to(dtype) * scale if ".lora_B." in name else weight, dtype
        )
        for name, weight in weights
    }


def differing(expected: Mapping[str, int], workers: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of weights whose sums in an engine's workers are not the expected ones; empty if all are right.

    workers: what `StudentWorker.loaded_sums` returns in each. A weight is split over the workers, or whole in each.
    Weights that only the engine knows by name are compared in one sum with the student's remaining ones.
    """
    names, remaining, unmatched = [], dict(expected), 0
    for name in sorted({name for worker in workers for name in worker["sums"]}):
        sums = [worker["sums"][name] for worker in workers if name in worker["sums"]]
        parts = _parts(name, workers[0]["fused"])
        if any(part not in remaining for part in parts):
            unmatched += sum(sums)
            continue
        whole = sum(remaining.pop(part) for part in parts) % MODULUS
        if sum(sums) % MODULUS != whole and set(sums) != {whole}:
            names.append(name)
    if (sum(remaining.values()) - unmatched) % MODULUS:
        names += sorted(remaining) or ["a weight that the student does not have"]
    return names


def _parts(name: str, fused: Mapping[str, Sequence[str]]) -> list[str]:
    """The student's names of the weight that an engine calls so.

    >>> _parts("model.layers.0.mlp.gate_up_proj.weight", {"gate_up_proj": ["gate_proj", "up_proj"]})
    ['model.layers.0.mlp.gate_proj.weight', 'model.layers.0.mlp.up_proj.weight']
    """
    path, _, kind = name.rpartition(".")
    path, dot, layer = path.rpartition(".")
    return [f"{path}{dot}{part}.{kind}" for part in fused[layer]] if layer in fused else [name]
