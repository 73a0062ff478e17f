"""What vLLM's worker is taught: to take a student's weights in place, and to say what it then holds."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from omniopd.models.engine_worker import EngineWorker
from omniopd.sampling.handover import saved_weights
from omniopd.sampling.weight_sums import weight_sum

ROWS = 1024  # of the identity that a packed layer is read through at once
STACKED = {
    "lora_a_stacked": "lora_A",
    "lora_b_stacked": "lora_B",
}  # vLLM's name of an adapter's side, and peft's


class StudentWorker(EngineWorker):
    """The methods that `worker_extension_cls` adds to vLLM's worker. They take and return what msgpack can carry."""

    if TYPE_CHECKING:  # vLLM's worker has these
        model_config: Any
        model_runner: Any
        reload_weights: Any

    def take_student(self, folder: str) -> None:
        """Replace the weights by those of a model directory, without a restart."""
        self.reload_weights(weights_iterator=saved_weights(folder))
        # An output layer that shares its weights with the embedding has, on the CPU, a packed copy of its own,
        # which a reload leaves as it was.
        for layer in self._packed():
            if layer.weight.numel():
                layer.quant_method.process_weights_after_loading(layer)

    def held_sums(self, adapter: int = 0) -> dict[str, Any]:
        """The weight_sum of every weight that this worker computes with, and which names fuse which.

        Where a packed copy is not of the weight that it was made of, the sum is the copy's. With the number of an
        adapter also the sums of its weights, under the student's own names; none where the worker does not hold it.
        """
        model, dtype = self.model_runner.get_model(), self.model_config.dtype
        names = {id(weight): _without_adapter(name) for name, weight in model.named_parameters()}
        sums = {names[id(weight)]: weight_sum(weight.data, dtype) for weight in model.parameters()}
        for layer in self._packed():
            if (found := _product_sum(layer, dtype)) != sums[names[id(layer.weight)]]:
                sums[names[id(layer.weight)]] = found
        fused = {name: list(parts) for name, parts in getattr(model, "packed_modules_mapping", {}).items()}
        if adapter and adapter in (slots := model.lora_manager.lora_index_to_id):
            slot = slots.index(adapter)
            sums |= {name: weight_sum(own[slot], dtype) for name, own in _stacked(model, fused)}
        return {"sums": sums, "fused": fused}

    def _packed(self) -> list[Any]:
        """The layers whose products read a packed copy of the weight, as those of vLLM's build for the CPU do."""
        return [layer for layer in self.model_runner.get_model().modules() if "cpu_linear" in vars(layer)]


def _without_adapter(name: str) -> str:
    """What a weight was called before its layer was put into one that has room for adapters."""
    return name.replace(".base_layer.", ".")


def _stacked(model: nn.Module, fused: dict[str, list[str]]) -> Iterator[tuple[str, Tensor]]:
    """The tensors that hold adapters' weights, a slot each, under the student's names of them where it has any."""
    for path, layer in model.named_modules():
        for attribute, value in vars(layer).items():
            if not attribute.endswith(tuple(STACKED)) or not isinstance(value, (Tensor, tuple)):
                continue
            slices = value if isinstance(value, tuple) else (value,)
            above, dot, own = path.rpartition(".")
            parts = fused.get(own, [own])
            if attribute in STACKED and len(parts) == len(slices):
                names = [f"{above}{dot}{part}.{STACKED[attribute]}.weight" for part in parts]
            else:
                names = [f"{path}.{attribute}.{i}" for i in range(len(slices))]
            yield from zip(names, slices, strict=True)


def _product_sum(layer: Any, dtype: torch.dtype) -> int:
    """The weight_sum of what the layer multiplies by, read by multiplying the identity: exact, whatever its form."""
    width = getattr(layer, "input_size_per_partition", None) or layer.embedding_dim
    total = 0
    for first in range(0, width, ROWS):
        rows = torch.zeros(min(ROWS, width - first), width, dtype=dtype)
        rows[:, first:].fill_diagonal_(1)
        total += weight_sum(layer.quant_method.apply(layer, rows), dtype)
    return total % 2**64
