"""LoRA adapters (arXiv 2106.09685) through peft: added to a model in place, saved in the format of the hub and vLLM.

peft takes seconds to import, so it is imported only where there is an adapter.
"""

import copy
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from omniopd.config import Lora
from omniopd.data.store import read_json, write_json
from omniopd.errors import AdapterError, one_line
from omniopd.models.integrity import check_finite

if TYPE_CHECKING:
    import peft

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PREFIX = "base_model.model."  # of the names in a saved adapter
LINEAR = (torch.nn.Linear, Conv1D)


def add_adapter(model: PreTrainedModel, lora: Lora, *, seed: int) -> None:
    """Freeze the model and add an adapter, initialised from the seed, that does not change its outputs yet.

    Raises:
        AdapterError: a target is not a layer that an adapter can be added to.
    """
    import peft
    from peft.tuners.tuners_utils import cast_adapter_dtype

    _check_targets(model, lora)
    model.requires_grad_(False)
    torch.manual_seed(seed)
    config = peft.LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, target_modules=lora.targets, task_type="CAUSAL_LM",  # pyright: ignore[reportArgumentType]
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),  # the layers of GPT-2
    )  # fmt: skip
    if lora.targets == "all-linear":
        config.exclude_modules = [
            name
            for name, layer in model.named_modules()
            if _is_router(layer) or _bypassed(config, model, name.rpartition(".")[2])
        ] or None
    try:
        with warnings.catch_warnings():
            # peft warns of experts whose weights are no modules.
            warnings.filterwarnings("ignore", "The following (rank|alpha)_pattern keys", RuntimeWarning)
            peft.inject_adapter_in_model(config, model)
        # To float32, whatever the model's dtype.
        cast_adapter_dtype(model, "default", autocast_adapter_dtype=True)
    except (ValueError, TypeError, AttributeError, RuntimeError, ImportError) as error:
        raise AdapterError(
            f"train.lora: peft cannot add an adapter to {type(model).__name__} ({one_line(error)}); "
            "take other train.lora.targets, or set train.lora: null"
        ) from error


def _is_router(layer: torch.nn.Module) -> bool:
    """Whether a subclass of a linear layer returns more than its output, as routers to experts do."""
    if not isinstance(layer, torch.nn.Linear) or not type(layer).__module__.startswith("transformers.models"):
        return False
    with torch.no_grad():
        return not isinstance(layer(layer.weight.new_zeros(1, layer.in_features)), Tensor)


def _bypassed(config: "peft.LoraConfig", model: PreTrainedModel, name: str) -> bool:
    """Whether peft refuses layers of that name, as kernels of state space models read their weights directly."""
    from peft.tuners import tuners_utils

    check = getattr(tuners_utils, "_check_lora_target_modules_mamba", None)
    try:
        return check is not None and check(config, model, name) is not None
    except ValueError:
        return True


def _check_targets(model: PreTrainedModel, lora: Lora) -> None:
    """Raise where a target is neither a linear layer nor an embedding, or is the head: the loss ignores its adapter."""
    kind, head = type(model).__name__, model.get_output_embeddings()
    layers = {name: module for name, module in model.named_modules() if name}
    names = sorted(
        {
            name.rpartition(".")[2]
            for name, layer in layers.items()
            if isinstance(layer, LINEAR) and layer is not head and not _is_router(layer)
        }
    )
    if not names:
        raise AdapterError(
            f"train.lora: {kind} has no linear layers that an adapter could be added to; set train.lora: null, or take "
            "another model"
        )
    for target in [] if lora.targets == "all-linear" else lora.targets:
        targeted = [layer for name, layer in layers.items() if f".{name}".endswith(f".{target}")]
        if not targeted:
            reason = f"names no layer of {kind}"
        elif any(layer is head for layer in targeted):
            reason = "is the head, and the loss is computed from its weights alone, without an adapter"
        elif not any(
            isinstance(layer, (*LINEAR, torch.nn.Embedding)) and not _is_router(layer) for layer in targeted
        ):
            reason = f"is a {type(targeted[0]).__name__}, not a linear layer"
        else:
            continue
        raise AdapterError(f"train.lora.targets: {target} {reason}; take some of {', '.join(names)}")


def has_adapter(model: PreTrainedModel) -> bool:
    """Whether add_adapter was called on the model."""
    return hasattr(model, "peft_config")


@contextmanager
def adapter_off(model: PreTrainedModel) -> Iterator[None]:
    """Disable the adapter for the block."""
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
    import peft

    state = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    return {f"{PREFIX}{name}": value for name, value in state.items()}


def base_state(model: PreTrainedModel) -> dict[str, Tensor]:
    """The weights of the model without the adapter."""
    return {name: value for name, value in model.state_dict().items() if ".lora_" not in name}


def base_weights(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """Those weights one at a time, tied ones once, under their names without an adapter."""
    for name, weight in model.named_parameters():
        if ".lora_" not in name:
            yield name.replace(".base_layer.", "."), weight.detach()


def save_adapter(folder: Path, model: PreTrainedModel, state: dict[str, Tensor], *, base: str) -> None:
    """Save an adapter of the model named `base`."""
    config = copy.copy(next(iter(model.peft_config.values())))  # pyright: ignore[reportAttributeAccessIssue]
    config.base_model_name_or_path, config.inference_mode = base, True
    config.save_pretrained(folder)
    save_file(state, folder / WEIGHTS)


def copy_adapter(folder: Path, into: Path, *, base: str) -> None:
    """Copy a saved adapter, with another name of its base."""
    config = read_json(folder / CONFIG) | {"base_model_name_or_path": base}
    write_json(into / CONFIG, config)
    shutil.copyfile(folder / WEIGHTS, into / WEIGHTS)


def merge_adapter(folder: Path, model: PreTrainedModel) -> PreTrainedModel:
    """The model with a saved adapter merged into its weights: added in float32, and rounded once.

    Raises:
        AdapterError: peft cannot merge it, as into quantised weights.
        ModelError: a merged weight is NaN or infinite.
    """
    import peft

    dtypes = {name: weight.dtype for name, weight in model.named_parameters()}
    try:
        adapted = peft.PeftModel.from_pretrained(model.float(), str(folder))
        merged = adapted.merge_and_unload(safe_merge=True)  # pyright: ignore[reportCallIssue]
    except (ValueError, TypeError, AttributeError, RuntimeError, ImportError) as error:
        raise AdapterError(
            f"{folder}: peft cannot merge the adapter into {type(model).__name__} ({one_line(error)}); take the "
            "adapter without its base"
        ) from error
    for name, weight in merged.named_parameters():
        weight.data = weight.data.to(dtypes[name])
    check_finite(str(folder), merged.named_parameters())
    return merged


def load_adapter(folder: Path, model: PreTrainedModel) -> None:
    """Load saved weights into a model with the same adapter.

    Raises:
        AdapterError: they cannot be read, or are of another adapter.
    """
    import peft

    try:
        state = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise AdapterError(
            f"{folder}: the adapter cannot be read ({error}); take another checkpoint"
        ) from error
    check_finite(str(folder), state.items())
    expected = adapter_state(model)
    if unmatched := expected.keys() ^ state.keys():
        raise AdapterError(
            f"{folder}: holds another adapter than train.lora describes ({len(unmatched)} weights in one alone); "
            "restore train.lora, or start a new run"
        )
    if misshapen := sorted(name for name, value in state.items() if value.shape != expected[name].shape):
        name = misshapen[0]
        raise AdapterError(
            f"{folder}: {name} is {tuple(state[name].shape)}, and train.lora describes {tuple(expected[name].shape)}; "
            "restore train.lora, or start a new run"
        )
    peft.set_peft_model_state_dict(model, {name.removeprefix(PREFIX): value for name, value in state.items()})
