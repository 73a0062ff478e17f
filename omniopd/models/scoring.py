"""The trainer's forward pass: hidden states of responses, and the scores of their tokens."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from omniopd.data.rows import Batch, Row, collate
from omniopd.errors import ModelError
from omniopd.functional import Head, Positions, States, token_scores
from omniopd.models.cache import keeps_every_token
from omniopd.models.precision import backbone_of, difference, dtype_of_products, is_rounding, not_finite

PROBE_IDS = (1, 0, 2, 1)  # in every vocabulary
ROUNDING = 8  # units in the last place
PROBE_TOLERANCE = 3e-2  # of the largest value: above rounding, also of bfloat16


def response_states(model: PreTrainedModel, batch: Batch) -> States:
    """The hidden states that predict each response token, and the head."""
    packed = {} if batch.position_ids is None else {"position_ids": batch.position_ids.to(model.device)}
    out = backbone_of(model)(input_ids=batch.input_ids.to(model.device), use_cache=False, **packed)
    hidden = out.last_hidden_state  # (B, L, H)
    return States(hidden.flatten(0, 1).index_select(0, batch.index.to(hidden.device)), head_of(model))


def head_of(model: PreTrainedModel) -> Head:
    """The head: how the model turns hidden states into logits, with scale and cap."""
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
    """Raise where head_of does not reproduce the model's logits, so that losses would be wrong.

    Raises:
        ModelError: the logits of a few tokens are not finite, or differ.
    """
    ids = torch.tensor([PROBE_IDS], device=model.device)
    expected = model(input_ids=ids, use_cache=False).logits[0].float()
    if not expected.isfinite().all():
        raise not_finite(model)
    head = head_of(model)
    hidden = backbone_of(model)(input_ids=ids, use_cache=False).last_hidden_state[0].to(head.weight.dtype)
    logits = nn.functional.linear(hidden, head.weight, head.bias).float() * head.scale
    if head.softcap:
        logits = head.softcap * torch.tanh(logits / head.softcap)
    if (logits - expected).abs().max() > PROBE_TOLERANCE * expected.abs().max():
        raise ModelError(
            f"{_name(model)}: {type(model).__name__} turns hidden states into logits in a way that is not known here "
            "(neither logit_scale, logits_scaling nor final_logit_softcapping); take another model"
        )


@torch.inference_mode()
def check_rows(model: PreTrainedModel) -> None:
    """Raise where the hidden states of a sequence depend on its batch by more than rounding.

    Raises:
        ModelError: in a batch with a longer sequence they differ from those alone.
    """
    rows = [Row("short", [1], [2, 0]), Row("long", [*PROBE_IDS, 2], [*PROBE_IDS, 0])]

    def alone() -> list[Tensor]:
        return [response_states(model, collate([row], pad_id=0)).hidden for row in rows]

    differs = difference(response_states(model, collate(rows, pad_id=0)).hidden, torch.cat(alone()))
    if not is_rounding(differs, model, alone):
        raise ModelError(
            f"{_name(model)}: {model.config.model_type} computes other hidden states for a batch than "
            f"for its sequences alone (they differ by {differs:.2%} of their spread), so that losses would be wrong; "
            "take another model"
        )


def _attends_to_chunks(model: PreTrainedModel) -> bool:
    config = model.config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    return "chunked_attention" in kinds if kinds else bool(getattr(config, "attention_chunk_size", None))


@torch.inference_mode()
def check_packing(model: PreTrainedModel) -> None:
    """Raise where packed sequences attend to each other.

    A few tokens do not show where chunks of attention begin, nor which tokens a sparse layer chooses of many, so
    only attention to all tokens or to a window is accepted.

    Raises:
        ModelError: a sequence after another has other hidden states than alone.
    """
    refusal = ModelError(
        f"{_name(model)}: {type(model).__name__} does not tell packed sequences apart; set train.packing: false"
    )
    try:
        if _attends_to_chunks(model) or not keeps_every_token(model):
            raise refusal
    except Exception as error:  # whatever a configuration that no cache can be made from raises
        raise refusal from error
    rows = [Row("first", list(PROBE_IDS), [2]), Row("second", [2, 0, 1], [1, 2])]
    packed = collate(rows, pad_id=0, packed=True)
    apart, together, joined = (
        response_states(model, batch).hidden.float()
        for batch in (collate(rows, pad_id=0), packed, replace(packed, position_ids=None))
    )
    # Attending to each other changes little in a model that was hardly trained, so the bound depends on both.
    attended, rounding = (joined - apart).abs().max(), ROUNDING * apart.abs().max()
    dtype = dtype_of_products(model) or model.dtype
    if (together - apart).abs().max() > max(attended / 4, rounding * torch.finfo(dtype).eps):
        raise refusal


@torch.inference_mode()
def score(
    model: PreTrainedModel, rows: Sequence[Row], *, packed: bool = False
) -> list[tuple[list[float], list[float]]]:
    """(entropies, log-probabilities) of each row's response tokens, in nats, as one batch."""
    batch = collate(rows, pad_id=0, packed=packed)
    states = response_states(model, batch)
    scores = token_scores(Positions(states, batch.token_ids.to(states.hidden.device)), {"entropy", "logp"})
    rows_of = {name: values.split(list(batch.lengths)) for name, values in scores.items()}
    pairs = zip(rows_of["entropy"], rows_of["logp"], strict=True)
    return [(entropies.tolist(), logps.tolist()) for entropies, logps in pairs]


def _name(model: PreTrainedModel) -> str:
    return str(model.config.name_or_path or "the model")
