"""LoRA adapters (arXiv 2106.09685) through peft: added to a model in place, saved as the hub and vLLM have them.

peft takes seconds to import, and is so only where there is an adapter.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from omniopd.config import Lora
from omniopd.errors import AdapterError, one_line
from omniopd.models.integrity import check_finite

WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."  # of the names in a saved adapter


def add_adapter(model: PreTrainedModel, lora: Lora, *, seed: int) -> None:
    """Freeze the model and add an adapter that changes nothing yet, drawn from the seed.

    Raises:
        AdapterError: a target is no layer that an adapter can be added to.
    """
    import peft
    from peft.tuners.tuners_utils import cast_adapter_dtype

    _check_targets(model, lora)
    model.requires_grad_(False)
    torch.manual_seed(seed)
    config = peft.LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, target_modules=lora.targets, task_type="CAUSAL_LM",  # pyright: ignore[reportArgumentType]
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),  # as GPT-2 has its layers
    )  # fmt: skip
    try:
        peft.inject_adapter_in_model(config, model)
        # float32, whatever the model is held in.
        cast_adapter_dtype(model, "default", autocast_adapter_dtype=True)
    except (ValueError, TypeError, AttributeError, RuntimeError, ImportError) as error:
        raise AdapterError(
            f"train.lora: peft cannot add an adapter to {type(model).__name__} ({one_line(error)}); "
            "take other train.lora.targets, or set train.lora: null"
        ) from error


def _check_targets(model: PreTrainedModel, lora: Lora) -> None:
    """Raise where a target is no layer that takes an adapter, or is the head, whose adapter the loss would not see."""
    kind, head = type(model).__name__, model.get_output_embeddings()
    layers = {name: module for name, module in model.named_modules() if name}
    names = sorted(
        {name.rpartition(".")[2] for name, layer in layers.items() if _is_linear(layer) and layer is not head}
    )
    if not names:
        raise AdapterError(
            f"train.lora: {kind} has no linear layers that an adapter could be added to; set train.lora: null, or take "
            "another model"
        )
    for target in [] if lora.targets == "all-linear" else lora.targets:
        found = [layer for name, layer in layers.items() if name == target or name.endswith(f".{target}")]
        if not found:
            reason = f"names no layer of {kind}"
        elif any(layer is head for layer in found):
            reason = "is the head, and the loss is computed from its weights alone, without an adapter"
        elif not any(_is_linear(layer) or isinstance(layer, torch.nn.Embedding) for layer in found):
            reason = f"is a {type(found[0]).__name__}, not a linear layer"
        else:
            continue
        raise AdapterError(f"train.lora.targets: {target} {reason}; take some of {', '.join(names)}")


def has_adapter(model: PreTrainedModel) -> bool:
    """Whether add_adapter has been called on it."""
    return hasattr(model, "peft_config")


@contextmanager
def adapter_off(model: PreTrainedModel) -> Iterator[None]:
    """The model as it was before the adapter, for the block."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)
        for parameter in trained:
            parameter.requires_grad_(True)


def adapter_state(model: PreTrainedModel) -> dict[str, Tensor]:
    """The adapter's weights, under the names of a saved adapter."""
    return {f"{PREFIX}{name}": value for name, value in _state(model).items()}


def base_state(model: PreTrainedModel) -> dict[str, Tensor]:
    """The weights that the adapter was added to."""
    return {name: value for name, value in model.state_dict().items() if ".lora_" not in name}


def base_weights(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """Those weights one after the other, shared ones once, under the names that they had before."""
    for name, weight in model.named_parameters():
        if ".lora_" not in name:
            yield name.replace(".base_layer.", "."), weight.detach()


def save_adapter(folder: Path, model: PreTrainedModel, state: dict[str, Tensor], *, base: str) -> None:
    """Write an adapter of the model called `base`."""
    config = copy.copy(next(iter(model.peft_config.values())))  # pyright: ignore[reportAttributeAccessIssue]
    config.base_model_name_or_path, config.inference_mode = base, True
    config.save_pretrained(folder)
    save_file(state, folder / WEIGHTS)


def load_adapter(folder: Path, model: PreTrainedModel) -> None:
    """Give a model, to which the same adapter was added, the weights saved there.

    Raises:
        AdapterError: they cannot be read, or belong to another adapter.
    """
    import peft

    try:
        state = {name.removeprefix(PREFIX): value for name, value in load_file(folder / WEIGHTS).items()}
    except (SafetensorError, OSError) as error:
        raise AdapterError(
            f"{folder}: the adapter cannot be read ({error}); take another checkpoint"
        ) from error
    missing = _state(model).keys() ^ state.keys()
    check_finite(str(folder), state.items())
    if missing:
        raise AdapterError(
            f"{folder}: holds another adapter than train.lora describes ({len(missing)} weights in one alone); "
            "set train.lora as it was, or begin anew"
        )
    shapes = {name: value.shape for name, value in _state(model).items()}
    if other := sorted(name for name, value in state.items() if value.shape != shapes[name]):
        raise AdapterError(
            f"{folder}: {other[0]} is {tuple(state[other[0]].shape)}, and train.lora describes "
            f"{tuple(shapes[other[0]])}; set train.lora as it was, or begin a new run"
        )
    peft.set_peft_model_state_dict(model, state)


def _state(model: PreTrainedModel) -> dict[str, Tensor]:
    import peft

    return peft.get_peft_model_state_dict(model, save_embedding_layers=False)


def _is_linear(module: torch.nn.Module) -> bool:
    return isinstance(module, torch.nn.Linear | Conv1D)
