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
    teacher_prompt_ids: list[int] | None = (
        None  # the prompt as the teacher reads it, where its logits are needed
    )

    def __len__(self) -> int:
        """Tokens of prompt and response."""
        return len(self.prompt_ids) + len(self.response_ids)


def as_teacher_reads(row: Row) -> Row:
    """The response after the prompt as the teacher reads it, without columns."""
    ids = row.prompt_ids if row.teacher_prompt_ids is None else row.teacher_prompt_ids
    return Row(row.id, ids, row.response_ids)


Columns = Mapping[str, Tensor]  # each (N,) or (N, K)


@dataclass(frozen=True)
class Batch:
    """Rows as [prompt | response | padding], padded on the right, and their N response tokens concatenated.

    Attention is causal, so padding cannot affect a response token, and no attention mask is needed. Packed rows are
    concatenated into one sequence (B = 1), and each attends only to itself.
    """

    input_ids: Tensor  # (B, L) int64
    position_ids: Tensor | None  # (B, L) int64 for packed rows, which start at 0 each; else None
    index: Tensor  # (N,) int64: the position in B · L whose output predicts a response token
    token_ids: Tensor  # (N,) int64: the response tokens, row by row
    columns: Columns
    lengths: Sequence[int]  # of the rows' responses; N in all
    of_teacher: "Batch | None" = None  # the same responses after the teacher's prompts, where those differ


def collate(rows: Sequence[Row], *, pad_id: int, packed: bool = False) -> Batch:
    """Rows as one batch. Padded positions hold pad_id; nothing may depend on them."""
    lengths = [len(row) for row in rows]
    longest = max(lengths)
    starts = [sum(lengths[:i]) if packed else i * longest for i in range(len(rows))]
    flat = torch.full((sum(lengths) if packed else len(rows) * longest,), pad_id)
    index = []
    for row, start, length in zip(rows, starts, lengths, strict=True):
        flat[start : start + length] = torch.tensor([*row.prompt_ids, *row.response_ids])
        first = start + len(row.prompt_ids) - 1
        index.append(torch.arange(first, first + len(row.response_ids)))
    return Batch(
        input_ids=flat.view(1 if packed else len(rows), -1),
        position_ids=torch.cat([torch.arange(length) for length in lengths])[None] if packed else None,
        index=torch.cat(index),
        token_ids=torch.tensor([token for row in rows for token in row.response_ids]),
        columns={name: _column(rows, name) for name in rows[0].columns},
        lengths=[len(row.response_ids) for row in rows],
        of_teacher=_of_teacher(rows, pad_id=pad_id, packed=packed),
    )


def _of_teacher(rows: Sequence[Row], *, pad_id: int, packed: bool) -> Batch | None:
    if all(row.teacher_prompt_ids in (None, row.prompt_ids) for row in rows):
        return None
    return collate([as_teacher_reads(row) for row in rows], pad_id=pad_id, packed=packed)


def grouped(
    rows: Sequence[Row], *, batch_size: int, batch_tokens: int | None = None, packed: bool = False
) -> list[Sequence[Row]]:
    """The rows of each forward pass: at most batch_size, in order.

    With batch_tokens, rows are grouped by length, longest first, and a batch has at most that many tokens, padding
    included; a longer row is a batch alone.
    """
    if batch_tokens is None:
        return [rows[first : first + batch_size] for first in range(0, len(rows), batch_size)]
    groups: list[list[Row]] = []
    room = 0
    for row in sorted(rows, key=len, reverse=True):
        cost = len(row) if packed or not groups else len(groups[-1][0])
        if not groups or len(groups[-1]) == batch_size or room < cost:
            groups.append([])
            room, cost = batch_tokens, len(row)
        groups[-1].append(row)
        room -= cost
    return list(groups)


def _column(rows: Sequence[Row], name: str) -> Tensor:
    values = [torch.as_tensor(row.columns[name]) for row in rows]
    for row, value in zip(rows, values, strict=True):
        if len(value) != len(row.response_ids):
            raise ValueError(
                f"row {row.id}: column {name!r} has {len(value)} values for {len(row.response_ids)} tokens"
            )
    return torch.cat(values)
