"""Reads prompts into a model's cache, in batches that it reads exactly. Axes: S states, V vocabulary, L cached."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from omniopd.errors import ModelError, one_line
from omniopd.models.cache import ReadingCache, keeps_every_token
from omniopd.models.precision import difference, is_rounding, not_finite

# Of tokens in every vocabulary. The third begins the first, with which the last shares some; the second shares nothing.
PROBES = ([1, 0, 2, 1, 2, 0, 1, 1, 0, 2, 2, 1], [2, 1, 0], [1, 0, 2, 1, 2, 0, 1], [1, 0, 2, 1, 2, 2])
# The probe that each sample continues, and with which token.
PROBE_STEPS = ((0, 1), (0, 2), (1, 0), (2, 2), (3, 0))
MIN_COMMON = 64  # tokens of a common prefix that is read once
_READING = "_omniopd_reading"


@dataclass(frozen=True)
class Reading:
    """Which prompts a model reads exactly in one batch.

    >>> Reading(nests=False, pads=True).rows([[4], [4, 2]])
    ([[4, 2], [4]], [1, 0])
    """

    nests: bool  # those that begin each other, in one row: its cache can be cut at each token
    pads: bool  # those of different lengths

    def rows(self, prompts: Sequence[list[int]]) -> tuple[list[list[int]], list[int]]:
        """The rows to read, and for every prompt the row that begins with it."""
        if self.nests:
            return nested(prompts)
        rows = sorted({tuple(prompt) for prompt in prompts}, reverse=True)
        number = {row: i for i, row in enumerate(rows)}
        return [list(row) for row in rows], [number[tuple(prompt)] for prompt in prompts]

    def batches(self, prompts: Sequence[list[int]]) -> Iterator[list[int]]:
        """Indices of the prompts to read together: all, or those of each length."""
        if self.pads:
            yield list(range(len(prompts)))
            return
        for length in sorted({len(prompt) for prompt in prompts}):
            yield [i for i, prompt in enumerate(prompts) if len(prompt) == length]


def nested(prompts: Sequence[list[int]]) -> tuple[list[list[int]], list[int]]:
    """The distinct prompts that begin no other one, and for every prompt the row that begins with it.

    >>> nested([[4], [7, 1], [4, 2, 3], [4, 2]])
    ([[7, 1], [4, 2, 3]], [1, 0, 1, 1])
    """
    rows: list[list[int]] = []
    row_of_prompt = [0] * len(prompts)
    # In descending order, a prompt comes right after those that begin with it.
    for i in sorted(range(len(prompts)), key=lambda i: prompts[i], reverse=True):
        if not rows or rows[-1][: len(prompts[i])] != prompts[i]:
            rows.append(prompts[i])
        row_of_prompt[i] = len(rows) - 1
    return rows, row_of_prompt


def common_len(rows: Sequence[list[int]]) -> int:
    """The number of tokens that all rows begin with.

    >>> common_len([[1, 2, 3], [1, 2], [1, 2, 4]])
    2
    """
    # In order, the first and the last row have the least in common.
    pairs = zip(min(rows), max(rows), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


class Prefixes:
    """The states of a model after some prefixes, at first the prompts, and the logits (S, V) of the token after each.

    A prompt that ends within its row leaves out the rest of the row: cached positions are moved right, over it, so that
    a row is padding and then a prefix without a gap. Windows and positions that count cached positions stay exact.
    """

    def __init__(
        self, model: PreTrainedModel, prompts: Sequence[list[int]], reading: Reading, *, pad_id: int,
        min_common: int = MIN_COMMON,
    ):  # fmt: skip
        rows, row_of_prompt = reading.rows(prompts)
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=model.device)
        # Without the last token of the shortest prompt, whose logits are needed.
        common = min(common_len(rows), min(map(len, prompts)) - 1)
        is_shared = reading.nests and len(rows) > 1 and common >= min_common
        read_len = max(map(len, rows))
        # (P,) cached positions until the end of each prompt: rows are padded on the left, but after a common prefix,
        # which is read once, on the right.
        offset = torch.tensor([0 if is_shared else read_len - len(row) for row in rows], device=model.device)
        self._row = torch.tensor(row_of_prompt, device=model.device)  # (S,) of the cache
        end = offset[self._row] + lengths
        # (S,) by which to move the row of each state; None once moved, or where nothing is.
        self._shift = read_len - end if bool((end < read_len).any()) else None
        self._cache = ReadingCache(model, whole=self._shift is not None)
        # Layers with a state do not count tokens, and some models then count positions wrongly themselves.
        self._counts = not reading.nests
        columns, column = torch.unique(end - 1, return_inverse=True)
        if is_shared:
            logits = self._read_after(rows, common, columns, pad_id)
        else:
            logits = self._read_padded(rows, columns, pad_id)
        self.logits = logits[self._row, column]
        positions = torch.arange(read_len, device=model.device)
        self._mask = (positions >= read_len - lengths[:, None]).long()  # (S, L)
        # Without padding no mask is needed, and attention takes its fast path.
        self._is_padded = not bool(self._mask.all())

    def _read_padded(self, rows: Sequence[list[int]], columns: Tensor, pad_id: int) -> Tensor:
        """(R, K, V) logits of these columns of the rows, padded on the left."""
        ids = [torch.tensor(row, dtype=torch.int64) for row in rows]
        left_pad = partial(pad_sequence, batch_first=True, padding_side="left")
        input_ids = left_pad(ids, padding_value=pad_id).to(columns.device)
        mask = left_pad([torch.ones_like(row) for row in ids]).to(columns.device)
        inputs = {} if mask.all() else {"attention_mask": mask}
        if inputs or self._counts:
            inputs["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
        return self._cache.read(input_ids, inputs, columns)

    def _read_after(self, rows: Sequence[list[int]], common: int, columns: Tensor, pad_id: int) -> Tensor:
        """The same, of rows that begin with the same tokens. Padded on the right: no row attends to its padding."""
        self._cache.read(torch.tensor([rows[0][:common]], device=columns.device), {}, columns[:1] * 0)
        self._cache.expand(len(rows))
        rest = [torch.tensor(row[common:], dtype=torch.int64) for row in rows]
        input_ids = pad_sequence(rest, batch_first=True, padding_value=pad_id).to(columns.device)
        return self._cache.read(input_ids, {}, columns - common)

    def advance(self, parent: Tensor, token: Tensor) -> None:
        """To the states that add token (S',) to those of parent (S',)."""
        row, numbers = self._row[parent], torch.arange(len(parent), device=parent.device)
        is_same = len(row) == int(self._row.max()) + 1 and torch.equal(row, numbers)
        if self._shift is not None or not is_same:
            self._cache.select(row, None if self._shift is None else self._shift[parent])
        self._row, self._shift, self._mask = numbers, None, self._mask[parent]
        inputs = {}
        if self._is_padded or self._counts:
            self._mask = torch.cat([self._mask, self._mask.new_ones(len(parent), 1)], 1)
            inputs["position_ids"] = self._mask.sum(1, keepdim=True) - 1
        if self._is_padded:
            inputs["attention_mask"] = self._mask
        self.logits = self._cache.read(token[:, None], inputs)[:, -1]


def reading_of(model: PreTrainedModel) -> Reading:
    """How the model reads prompts exactly, determined once per model: a few tokens are compared with plain passes.

    Raises:
        ModelError: its cache does not give the logits of a plain forward pass, or these are no numbers.
    """
    if not hasattr(model, _READING):
        setattr(model, _READING, _probed(model))
    return getattr(model, _READING)


@torch.inference_mode()
def _probed(model: PreTrainedModel) -> Reading:
    expected = _expected(model)
    if not all(bool(logits.isfinite().all()) for logits in expected):
        raise not_finite(model)
    problem = ""
    for reading in (Reading(True, True), Reading(False, True), Reading(False, False)):
        try:
            if reading.nests > keeps_every_token(model):
                continue
            # All probes, then some with a common prefix, or one without padding.
            groups = [*reading.batches(PROBES), [0, 2, 3] if reading.nests else [0]]
            differs = max(_difference(model, group, reading, expected) for group in groups)
        except Exception as error:  # a model's code may raise anything when it does not know the cache
            problem = one_line(error)
            continue
        if is_rounding(differs, model, lambda: _expected(model)):
            return reading
        problem = f"logits differ by {differs:.2%} of their spread"
    raise ModelError(
        f"{model.config.name_or_path or 'the model'}: {model.config.model_type} does not generate from a cache what it "
        f"computes without ({problem}), so its samples would be wrong; sample with vLLM (rollout.engine or "
        "teacher.kind: vllm), or take another model"
    )


def _expected(model: PreTrainedModel) -> list[Tensor]:
    """(T, V) logits of plain forward passes over each probe and its steps, (PROBE_STEPS) of them."""
    sequences = [[*PROBES[i], token, token] for i, token in PROBE_STEPS]
    return [
        model(input_ids=torch.tensor([ids], device=model.device), use_cache=False).logits[0].float()
        for ids in sequences
    ]


def _difference(
    model: PreTrainedModel, probes: Sequence[int], reading: Reading, expected: Sequence[Tensor]
) -> float:
    """How far the logits after the probes, and after each of two steps, differ from the expected ones."""
    states = Prefixes(model, [PROBES[i] for i in probes], reading, pad_id=0, min_common=2)
    steps = [(n, i, token) for n, (i, token) in enumerate(PROBE_STEPS) if i in probes]
    parent = torch.tensor([probes.index(i) for _, i, _ in steps], device=model.device)
    token = torch.tensor([token for *_, token in steps], device=model.device)
    worst = 0.0
    for step in range(3):
        if step:
            states.advance(parent, token)
            parent = torch.arange(len(steps), device=model.device)
        for place, (n, i, _) in enumerate(steps):
            row = expected[n][len(PROBES[i]) - 1 + step]
            worst = max(worst, difference(states.logits[parent[place]], row))
    return worst
