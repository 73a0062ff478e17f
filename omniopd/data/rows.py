"""Training rows and their batches. Axes: B sequences, L tokens of prompt and response, N response tokens of all."""

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


Columns = Mapping[str, Tensor]  # each (N,) or (N, K)


@dataclass(frozen=True)
class Batch:
    """Rows side by side: [prompt | response | padding], padded on the right, and their N response tokens in a line.

    A causal model never looks right, so padding cannot reach a response token, and no attention
    mask is needed.
    """

    input_ids: Tensor  # (B, L) int64
    index: Tensor  # (N,) int64: the position in B · L whose output predicts a response token
    token_ids: Tensor  # (N,) int64: the response tokens, row by row
    columns: Columns
    lengths: Sequence[int]  # of the rows' responses; N in all


def collate(rows: Sequence[Row], *, pad_id: int) -> Batch:
    """Rows as one batch. Padded positions hold pad_id; nothing may depend on them."""
    length = max(len(row.prompt_ids) + len(row.response_ids) for row in rows)
    input_ids = torch.full((len(rows), length), pad_id)
    index = []
    for i, row in enumerate(rows):
        tokens = [*row.prompt_ids, *row.response_ids]
        input_ids[i, : len(tokens)] = torch.tensor(tokens)
        first = i * length + len(row.prompt_ids) - 1
        index.append(torch.arange(first, first + len(row.response_ids)))
    token_ids = torch.tensor([token for row in rows for token in row.response_ids])
    columns = {name: _column(rows, name) for name in rows[0].columns}
    return Batch(input_ids, torch.cat(index), token_ids, columns, [len(row.response_ids) for row in rows])


def _column(rows: Sequence[Row], name: str) -> Tensor:
    values = [torch.as_tensor(row.columns[name]) for row in rows]
    for row, value in zip(rows, values, strict=True):
        if len(value) != len(row.response_ids):
            raise ValueError(
                f"row {row.id}: column {name!r} has {len(value)} values for {len(row.response_ids)} tokens"
            )
    return torch.cat(values)
