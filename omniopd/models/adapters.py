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

from omniopd.config import Lora
from omniopd.errors import ModelError

WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."  # of the names in a saved adapter


def add_adapter(model: PreTrainedModel, lora: Lora, *, seed: int) -> None:
    """Freeze the model and add an adapter that changes nothing yet, drawn from the seed.

    Raises:
        ModelError: no layer has a name that targets names.
    """
    import peft
    from peft.tuners.tuners_utils import cast_adapter_dtype

    model.requires_grad_(False)
    torch.manual_seed(seed)
    config = peft.LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, target_modules=lora.targets, task_type="CAUSAL_LM"  # pyright: ignore[reportArgumentType]
    )  # fmt: skip
    try:
        peft.inject_adapter_in_model(config, model)
        # float32, whatever the model is held in.
        cast_adapter_dtype(model, "default", autocast_adapter_dtype=True)
    except ValueError as error:
        names = sorted(
            {name.rpartition(".")[2] for name, module in model.named_modules() if _is_linear(module)}
        )
        raise ModelError(
            f"train.lora.targets: {lora.targets} names no layer of {type(model).__name__}; it has {', '.join(names)}"
        ) from error


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
        ModelError: they cannot be read, or belong to another adapter.
    """
    import peft

    try:
        state = {name.removeprefix(PREFIX): value for name, value in load_file(folder / WEIGHTS).items()}
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{folder}: the adapter cannot be read ({error}); take another checkpoint"
        ) from error
    missing = _state(model).keys() ^ state.keys()
    if missing:
        raise ModelError(
            f"{folder}: holds another adapter than train.lora describes ({len(missing)} weights in one alone); "
            "set train.lora as it was, or begin anew"
        )
    peft.set_peft_model_state_dict(model, state)


def _state(model: PreTrainedModel) -> dict[str, Tensor]:
    import peft

    return peft.get_peft_model_state_dict(model, save_embedding_layers=False)


def _is_linear(module: torch.nn.Module) -> bool:
    return isinstance(module, torch.nn.Linear)
