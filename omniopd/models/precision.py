"""Mixed precision (bfloat16 products over float32 weights), and gradient checkpointing."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from omniopd.config import Precision
from omniopd.errors import ModelError

DTYPES: dict[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}
TOLERANCE = {torch.float32: 1e-4}  # of the spread of values: above rounding
# The same for bfloat16 and float16, where rounding may also change which expert is chosen.
LOW_PRECISION = 0.1
# Of models that amplify rounding: as many times the effect of one rounding of their embeddings, up to a limit.
AMPLIFIED, MOST_AMPLIFIED = 10, 0.01
NUM_ROUNDINGS = 3  # of the embeddings, of which the largest effect counts
_COMPUTES_IN = "_omniopd_computes_in"


def compute_in(model: PreTrainedModel, precision: Precision) -> None:
    """Set the precision of matrix products in the model's forward passes; its weights are not cast."""
    if precision == "float32":
        return
    cast = torch.autocast(model.device.type, DTYPES[precision])
    for module in {model, backbone_of(model)}:
        module.forward = cast(module.forward)
    setattr(model, _COMPUTES_IN, DTYPES[precision])


def tolerance_of(model: PreTrainedModel) -> float:
    """How far values that are equal but for rounding may differ: root mean square over their spread."""
    return TOLERANCE.get(dtype_of_products(model) or model.dtype, LOW_PRECISION)


def is_rounding(differs: float, model: PreTrainedModel, values: Callable[[], Sequence[Tensor]]) -> bool:
    """Whether the model's values, computed in two ways, differ by no more than rounding; differs: as in `difference`.

    Above `tolerance_of` the model itself decides: `values` computes them in one way, and again where each embedding has
    been rounded otherwise. In a SmolLM2 whose training collapsed that changed logits by 3e-4 of their spread.
    """
    if differs <= tolerance_of(model):
        return True
    if differs > MOST_AMPLIFIED:
        return False
    return differs <= AMPLIFIED * _effect_of_rounding(model, values)


def _effect_of_rounding(model: PreTrainedModel, values: Callable[[], Sequence[Tensor]]) -> float:
    generator, embeddings = torch.Generator().manual_seed(0), model.get_input_embeddings()
    step = torch.finfo(dtype_of_products(model) or model.dtype).eps

    def rounded(module: Any, inputs: Any, out: Tensor) -> Tensor:
        del module, inputs
        return out * (1 + step * torch.randn(out.shape, generator=generator).to(out))

    expected, largest = values(), 0.0
    with embeddings.register_forward_hook(rounded):
        for _ in range(NUM_ROUNDINGS):
            pairs = zip(values(), expected, strict=True)
            largest = max(largest, *(difference(given, value) for given, value in pairs))
    return largest


def not_finite(model: PreTrainedModel) -> ModelError:
    """The error where a model's logits are no numbers."""
    return ModelError(
        f"{model.config.name_or_path or 'the model'}: its logits hold NaN or infinity; take another copy of the model, "
        "or set train.precision: float32"
    )


def difference(given: Tensor, expected: Tensor) -> float:
    """The largest root mean square difference of vectors (..., V), over the spread of the expected ones."""
    given, expected = given.float(), expected.float()
    spread = expected.std(-1).clamp(min=torch.finfo(torch.float32).tiny)
    ratio = (given - expected).square().mean(-1).sqrt() / spread
    return float(ratio.nan_to_num(nan=torch.inf).max())


def backbone_of(model: PreTrainedModel) -> PreTrainedModel:
    """The model without its head, which returns hidden states."""
    base = cast(PreTrainedModel, model.base_model)
    if base is not model:
        return base
    # Llama 4 has its base model under another name than its class states.
    named = [child for child in model.children() if isinstance(child, PreTrainedModel)]
    return named[0] if named else model


def dtype_of_products(model: PreTrainedModel) -> torch.dtype | None:
    """The dtype that compute_in set; None: products are in the weights' dtype."""
    return getattr(model, _COMPUTES_IN, None)


def layers_of(model: PreTrainedModel) -> list[GradientCheckpointingLayer]:
    """The model's layers, first to last.

    Raises:
        ModelError: the model's class does not mark them.
    """
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise ModelError(
            f"{type(model).__name__}: its layers cannot be told apart, which train.gradient_checkpointing and "
            "train.shard need; set both to false, or take another model"
        )
    return layers


def recompute_activations(model: PreTrainedModel) -> None:
    """Store only the inputs of each layer, and recompute its activations in the backward pass."""
    for layer in layers_of(model):
        layer.forward = _recomputed(layer.forward)


def _recomputed(forward: Any) -> Any:
    @wraps(forward)
    def recomputed(*inputs: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*inputs, **named)
        return checkpoint(forward, *inputs, use_reentrant=False, **named)

    return recomputed
