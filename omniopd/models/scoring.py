"""The trainer's forward pass: hidden states of responses, and the scores of their tokens."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from omniopd.data.rows import Batch, Row, collate
from omniopd.errors import ModelError
from omniopd.functional import Head, Positions, States, token_scores
from omniopd.models.precision import dtype_of_products

PROBE_IDS = (1, 0, 2, 1)  # tokens that every vocabulary has
ROUNDING = 8  # units in the last place
PROBE_TOLERANCE = 3e-2  # of the largest value: between rounding, of bfloat16 too, and something else


def response_states(model: PreTrainedModel, batch: Batch) -> States:
    """What the model says of each response token, before its head."""
    packed = {} if batch.position_ids is None else {"position_ids": batch.position_ids.to(model.device)}
    out = model.base_model(input_ids=batch.input_ids.to(model.device), use_cache=False, **packed)
    hidden = out.last_hidden_state  # (B, L, H)
    return States(hidden.flatten(0, 1).index_select(0, batch.index.to(hidden.device)), head_of(model))


def head_of(model: PreTrainedModel) -> Head:
    """How the model turns hidden states into logits, scale and cap included."""
    layer, config = model.get_output_embeddings(), model.config.get_text_config()
    if not isinstance(layer, nn.Linear):
        raise ModelError(
            f"{_name(model)}: its head is a {type(layer).__name__}, not a linear layer; take another model"
        )
    scale = getattr(config, "logit_scale", None) or 1.0
    scale /= getattr(config, "logits_scaling", None) or 1.0
    softcap = getattr(config, "final_logit_softcapping", None)
    return Head(layer.weight, layer.bias, scale, softcap, dtype_of_products(model))


@torch.inference_mode()
def check_head(model: PreTrainedModel) -> None:
    """Raise where head_of does not say what the model does: losses would be those of another model.

    Raises:
        ModelError: the logits of a few tokens are not finite, or not what the hidden states and the head come to.
    """
    ids = torch.tensor([PROBE_IDS], device=model.device)
    expected = model(input_ids=ids, use_cache=False).logits[0].float()
    if not expected.isfinite().all():
        raise ModelError(
            f"{_name(model)}: its logits hold NaN or infinity; take another copy of the model, or set "
            "train.precision: float32"
        )
    head = head_of(model)
    found = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0].to(head.weight.dtype)
    found = found @ head.weight.T if head.bias is None else found @ head.weight.T + head.bias
    found = found.float() * head.scale
    if head.softcap:
        found = head.softcap * torch.tanh(found / head.softcap)
    if (found - expected).abs().max() > PROBE_TOLERANCE * expected.abs().max():
        raise ModelError(
            f"{_name(model)}: {type(model).__name__} turns hidden states into logits in a way that is not known here "
            "(neither logit_scale, logits_scaling nor final_logit_softcapping); take another model"
        )


@torch.inference_mode()
def check_packing(model: PreTrainedModel) -> None:
    """Raise where sequences that are packed see each other.

    Raises:
        ModelError: a short sequence behind another is not what it is alone.
    """
    rows = [Row("first", list(PROBE_IDS), [2]), Row("second", [2, 0, 1], [1, 2])]
    packed = collate(rows, pad_id=0, packed=True)
    apart, together, joined = (
        response_states(model, batch).hidden.float()
        for batch in (collate(rows, pad_id=0), packed, replace(packed, position_ids=None))
    )
    # Beside rounding, and what seeing each other comes to: little, in a model that was hardly trained.
    seen, rounding = (joined - apart).abs().max(), ROUNDING * apart.abs().max()
    dtype = dtype_of_products(model) or model.dtype
    if (together - apart).abs().max() > max(seen / 4, rounding * torch.finfo(dtype).eps):
        raise ModelError(
            f"{_name(model)}: {type(model).__name__} does not tell packed sequences apart; set train.packing: false"
        )


@torch.inference_mode()
def score(model: PreTrainedModel, rows: Sequence[Row]) -> list[tuple[list[float], list[float]]]:
    """(entropies, log-probabilities) of each row's response tokens, in nats, as one batch."""
    batch = collate(rows, pad_id=0)
    states = response_states(model, batch)
    found = token_scores(Positions(states, batch.token_ids.to(states.hidden.device)), {"entropy", "logp"})
    entropies, logps = (_by_row(found[name], batch.lengths) for name in ("entropy", "logp"))
    return list(zip(entropies, logps, strict=True))


def _by_row(values: Tensor, lengths: Sequence[int]) -> list[list[float]]:
    return [own.tolist() for own in values.split(list(lengths))]


def _name(model: PreTrainedModel) -> str:
    return str(model.config.name_or_path or "the model")
