"""The trainer's forward pass: logits, log-probabilities and exact entropies of responses."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from omniopd.data.rows import Batch, Row, collate
from omniopd.functional.distributions import token_entropy, token_logp


def response_logits(model: PreTrainedModel, batch: Batch) -> Float[Tensor, "B T V"]:
    """The logits that predict each response token; padded positions hold some row's, meaning nothing."""
    logits = model(input_ids=batch.input_ids.to(model.device), use_cache=False).logits  # (B, L, V)
    index = torch.arange(len(logits), device=logits.device)[:, None]
    return logits[index, batch.source.to(logits.device)]  # (B, T, V)


@torch.inference_mode()
def score(model: PreTrainedModel, rows: Sequence[Row]) -> list[tuple[list[float], list[float]]]:
    """(entropies, log-probabilities) of each row's response tokens, in nats, as one batch."""
    batch = collate(rows, pad_id=0)
    logits = response_logits(model, batch)
    entropies = token_entropy(logits).tolist()
    logps = token_logp(logits, batch.response_ids.to(logits.device)).tolist()
    lengths = [len(row.response_ids) for row in rows]
    return [(h[:n], lp[:n]) for h, lp, n in zip(entropies, logps, lengths, strict=True)]
