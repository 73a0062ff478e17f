"""Weights on their way from the trainer to an engine's processes: through memory, where there is room."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import safe_open
from torch import Tensor
from transformers import PreTrainedModel

from omniopd.data.processes import has_ended, own_name

SHARED_MEMORY = Path("/dev/shm")
PREFIX = "omniopd-weights"


@contextmanager
def handed_over(model: PreTrainedModel) -> Iterator[str]:
    """A folder that holds the model for the block. What processes that were killed left in memory is removed first."""
    for left in SHARED_MEMORY.glob(f"{PREFIX}.*"):
        if has_ended(left.name.split(".")[1]):
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=_place_for(model), prefix=f"{PREFIX}.{own_name()}.") as folder:
        model.save_pretrained(folder)
        yield folder


def saved_weights(folder: str) -> Iterator[tuple[str, Tensor]]:
    """The names and weights of a model directory, one after the other."""
    for file in sorted(Path(folder).glob("*.safetensors")):
        with safe_open(file, "pt") as weights:
            for name in weights.keys():  # noqa: SIM118
                yield name, weights.get_tensor(name)


def _place_for(model: PreTrainedModel) -> Path | None:
    """The folder in memory if it has room for the weights twice, or None for the usual one of temporary files."""
    size = sum(weight.numel() * weight.element_size() for weight in model.state_dict().values())
    has_room = SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free > 2 * size
    return SHARED_MEMORY if has_room else None
