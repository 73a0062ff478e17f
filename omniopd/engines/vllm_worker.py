"""What vLLM's worker is taught: to take a student's weights in place, and to say what it then holds."""

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import torch

from omniopd.data.processes import has_ended
from omniopd.engines.handover import saved_weights
from omniopd.engines.weight_sums import weight_sum

ROWS = 1024  # of the identity that a packed layer is read through at once
LOOK_S = 1.0  # between looks at the process that an engine works for


class StudentWorker:
    """The methods that `worker_extension_cls` adds to vLLM's worker. They take and return what msgpack can carry."""

    if TYPE_CHECKING:  # vLLM's worker has these
        model_config: Any
        model_runner: Any
        reload_weights: Any

    def end_with(self, pid: int, name: str) -> None:
        """Have this worker and its engine end when the process of that number and name has, however it did.

        An engine's own processes look for the end of each other, and not for that of the process that started them.
        """
        engine = {os.getpid(), os.getppid()} - {pid}
        if os.getpid() != pid:
            threading.Thread(target=_end_with, args=(name, engine), daemon=True).start()

    def take_student(self, folder: str) -> None:
        """Replace the weights by those of a model directory, without a restart."""
        self.reload_weights(weights_iterator=saved_weights(folder))
        # An output layer that shares its weights with the embedding has, on the CPU, a packed copy of its own,
        # which a reload leaves as it was.
        for layer in self._packed():
            if layer.weight.numel():
                layer.quant_method.process_weights_after_loading(layer)

    def held_sums(self) -> dict[str, Any]:
        """The weight_sum of every weight that this worker computes with, and which names fuse which.

        Where a packed copy is not of the weight that it was made of, the sum is the copy's.
        """
        model, dtype = self.model_runner.get_model(), self.model_config.dtype
        names = {id(weight): name for name, weight in model.named_parameters()}
        sums = {name: weight_sum(weight.data, dtype) for name, weight in model.named_parameters()}
        for layer in self._packed():
            if (found := _product_sum(layer, dtype)) != sums[names[id(layer.weight)]]:
                sums[names[id(layer.weight)]] = found
        fused = {name: list(parts) for name, parts in getattr(model, "packed_modules_mapping", {}).items()}
        return {"sums": sums, "fused": fused}

    def _packed(self) -> list[Any]:
        """The layers whose products read a packed copy of the weight, as those of vLLM's build for the CPU do."""
        return [layer for layer in self.model_runner.get_model().modules() if hasattr(layer, "cpu_linear")]


def _end_with(name: str, engine: set[int]) -> None:
    while not has_ended(name):
        time.sleep(LOOK_S)
    for pid in sorted(engine, key=lambda pid: pid == os.getpid()):  # this one last
        os.kill(pid, signal.SIGKILL)


def _product_sum(layer: Any, dtype: torch.dtype) -> int:
    """The weight_sum of what the layer multiplies by, read by multiplying the identity: exact, whatever its form."""
    width = getattr(layer, "input_size_per_partition", None) or layer.embedding_dim
    total = 0
    for first in range(0, width, ROWS):
        rows = torch.zeros(min(ROWS, width - first), width, dtype=dtype)
        rows[:, first:].fill_diagonal_(1)
        total += weight_sum(layer.quant_method.apply(layer, rows), dtype)
    return total % 2**64
