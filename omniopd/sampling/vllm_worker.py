"""Extends vLLM's worker: loads a student's weights in place, and reports sums of the weights that it computes with."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from omniopd.models.engine_worker import EngineWorker
from omniopd.sampling.weight_sync import MODULUS, saved_weights, weight_sum

ROWS = 1024  # of the identity matrix by which a packed layer is read, at once
# vLLM's name of an adapter's matrix: peft's.
STACKED = {"lora_a_stacked": "lora_A", "lora_b_stacked": "lora_B"}


class StudentWorker(EngineWorker):
    """Added to vLLM's worker by `worker_extension_cls`. Arguments and results are what msgpack can encode."""

    if TYPE_CHECKING:  # attributes of vLLM's worker
        model_config: Any
        model_runner: Any
        reload_weights: Any

    def load_student(self, folder: str) -> None:
        """Replace the weights by those of a model directory, without a restart."""
        self.reload_weights(weights_iterator=saved_weights(folder))
        # On the CPU, an output layer that is tied to the embedding has a packed copy, which a reload leaves unchanged.
        for layer in self._packed():
            if layer.weight.numel():
                layer.quant_method.process_weights_after_loading(layer)

    def loaded_sums(self, adapter_id: int = 0) -> dict[str, Any]:
        """The weight_sum of every weight that this worker computes with, and which names fuse which.

        Where a packed copy differs from its weight, the sum is the copy's. With the id of an adapter, also the sums of
        its weights under the student's names; none where the worker does not have it.
        """
        model, dtype = self.model_runner.get_model(), self.model_config.dtype
        # A layer with room for adapters is a wrapper around the student's.
        names = {id(weight): name.replace(".base_layer.", ".") for name, weight in model.named_parameters()}
        sums = {names[id(weight)]: weight_sum(weight.data, dtype) for weight in model.parameters()}
        for layer in self._packed():
            sums[names[id(layer.weight)]] = _product_sum(layer, dtype)
        fused = {name: list(parts) for name, parts in getattr(model, "packed_modules_mapping", {}).items()}
        if adapter_id and adapter_id in (slots := model.lora_manager.lora_index_to_id):
            slot = slots.index(adapter_id)
            sums |= {name: weight_sum(stacked[slot], dtype) for name, stacked in _stacked(model, fused)}
        return {"sums": sums, "fused": fused}

    def _packed(self) -> list[Any]:
        """The layers that compute with a packed copy of the weight, as in vLLM's build for the CPU."""
        return [layer for layer in self.model_runner.get_model().modules() if "cpu_linear" in vars(layer)]


def _stacked(model: nn.Module, fused: dict[str, list[str]]) -> Iterator[tuple[str, Tensor]]:
    """The tensors of adapters' weights, one slot per adapter, by the student's name where it has one."""
    for path, layer in model.named_modules():
        for attribute, value in vars(layer).items():
            if not attribute.endswith(tuple(STACKED)) or not isinstance(value, (Tensor, tuple)):
                continue
            slices = value if isinstance(value, tuple) else (value,)
            parent, dot, layer_name = path.rpartition(".")
            parts = fused.get(layer_name, [layer_name])
            if attribute in STACKED and len(parts) == len(slices):
                names = [f"{parent}{dot}{part}.{STACKED[attribute]}.weight" for part in parts]
            else:
                names = [f"{path}.{attribute}.{i}" for i in range(len(slices))]
            yield from zip(names, slices, strict=True)


def _product_sum(layer: Any, dtype: torch.dtype) -> int:
    """The weight_sum of a packed weight in any format, read exactly by multiplying the identity matrix."""
    width = getattr(layer, "input_size_per_partition", None) or layer.embedding_dim
    total = 0
    for first in range(0, width, ROWS):
        rows = torch.zeros(min(ROWS, width - first), width, dtype=dtype)
        rows[:, first:].fill_diagonal_(1)
        total += weight_sum(layer.quant_method.apply(layer, rows), dtype)
    return total % MODULUS
