"""Training rows and their batches. Axes: B sequences, L tokens of prompt and response, T response positions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

# One value a response token, or one row of values: (T,) or (T, K).
Column = Sequence[float] | Sequence[bool] | Tensor


@dataclass(frozen=True)
class Row:
    """One sequence to train on. Each column has one value a response token, or one row of K values.

    The type of a column's values is the type of its tensor: bool for a mask, float for a weight.

    >>> columns = {"weight": [0.0, 0.9, 0.9], "audited": [False, True, True]}
    >>> row = Row("r0007-train-00012-0", [4, 11], [5, 6, 15], columns)
    >>> len(row.columns["weight"]) == len(row.response_ids)
    True
    """

    id: str
    prompt_ids: list[int]
    response_ids: list[int]
    columns: Mapping[str, Column] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """Rows side by side: [prompt | response | padding], padded on the right.

    A causal model never looks right, so padding cannot reach a response token, and no attention
    mask is needed. Column j of the (B, T) tensors is response position j.
    """

    input_ids: Tensor  # (B, L) int64
    source: Tensor  # (B, T) int64: the position in L whose output predicts response token t
    response_ids: Tensor  # (B, T) int64
    response: Tensor  # (B, T) bool: a response token, not padding
    columns: dict[str, Tensor]  # each (B, T) or (B, T, K)


def collate(rows: Sequence[Row], *, pad_id: int) -> Batch:
    """Rows as one batch. Padded positions hold pad_id, 0 or False; nothing may depend on them."""
    num_rows = len(rows)
    length = max(len(row.prompt_ids) + len(row.response_ids) for row in rows)
    response_len = max(len(row.response_ids) for row in rows)
    input_ids = torch.full((num_rows, length), pad_id)
    response_ids = torch.full((num_rows, response_len), pad_id)
    source = torch.zeros((num_rows, response_len), dtype=torch.int64)
    response = torch.zeros((num_rows, response_len), dtype=torch.bool)
    for i, row in enumerate(rows):
        tokens, num_response = [*row.prompt_ids, *row.response_ids], len(row.response_ids)
        first = len(row.prompt_ids) - 1
        input_ids[i, : len(tokens)] = torch.tensor(tokens)
        response_ids[i, :num_response] = torch.tensor(row.response_ids)
        source[i, :num_response] = torch.arange(first, first + num_response)
        response[i, :num_response] = True
    names = list(rows[0].columns)
    columns = {name: _column(rows, name, response_len) for name in names}
    return Batch(input_ids, source, response_ids, response, columns)


def _column(rows: Sequence[Row], name: str, response_len: int) -> Tensor:
    values = [torch.as_tensor(row.columns[name]) for row in rows]
    padded = torch.zeros((len(rows), response_len, *values[0].shape[1:]), dtype=values[0].dtype)
    for i, (row, value) in enumerate(zip(rows, values, strict=True)):
        if len(value) != len(row.response_ids):
            raise ValueError(
                f"row {row.id}: column {name!r} has {len(value)} values for {len(row.response_ids)} tokens"
            )
        padded[i, : len(value)] = value
    return padded
