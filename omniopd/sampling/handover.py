"""Weights on their way from the trainer to an engine's processes: through memory, where there is room."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import safe_open
from torch import Tensor
from transformers import PreTrainedModel

from omniopd.data.processes import has_ended, own_name
from omniopd.models.adapters import adapter_state, has_adapter, save_adapter

SHARED_MEMORY = Path("/dev/shm")
PREFIX = "omniopd-weights"


@contextmanager
def handed_over(model: PreTrainedModel) -> Iterator[str]:
    """A folder that holds the model for the block, or its adapter alone where it has one.

    What processes that were killed left in memory is removed first.
    """
    for left in SHARED_MEMORY.glob(f"{PREFIX}.*"):
        if has_ended(left.name.split(".")[1]):
            shutil.rmtree(left, ignore_errors=True)
    state = adapter_state(model) if has_adapter(model) else model.state_dict()
    with tempfile.TemporaryDirectory(dir=_place_for(state), prefix=f"{PREFIX}.{own_name()}.") as folder:
        if has_adapter(model):
            save_adapter(Path(folder), model, state, base=str(model.config.name_or_path))
        else:
            model.save_pretrained(folder)
        yield folder


def saved_weights(folder: str) -> Iterator[tuple[str, Tensor]]:
    """The names and weights of a model or an adapter in a directory, one after the other."""
    for file in sorted(Path(folder).glob("*.safetensors")):
        with safe_open(file, "pt") as weights:
            for name in weights.keys():  # noqa: SIM118
                yield name, weights.get_tensor(name)


def _place_for(state: Mapping[str, Tensor]) -> Path | None:
    """The folder in memory if it has room for the weights twice, or None for the usual one of temporary files."""
    size = sum(weight.numel() * weight.element_size() for weight in state.values())
    has_room = SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free > 2 * size
    return SHARED_MEMORY if has_room else None
