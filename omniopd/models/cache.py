"""The cache of a batch: made for reading, its rows selected and aligned. Axes: R rows, L cached positions, S states."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from omniopd.errors import ModelError

# Kinds of layers whose rows `select` moves exactly, by what they keep.
OF_TOKENS = frozenset({"DynamicLayer", "DynamicSlidingWindowLayer"})  # keys and values of single tokens
OF_STATES = frozenset(
    {
        "LinearAttentionLayer",
        "LinearAttentionAndFullAttentionLayer",
        "LinearAttentionAndSlidingWindowAttentionLayer",
    }
)
CACHE_NAMES = ("past_key_values", "cache_params")  # of the argument; the second in state space models


def keeps_every_token(model: PreTrainedModel) -> bool:
    """Whether each layer caches keys and values of single tokens, rather than a state of all tokens so far.

    Raises:
        ModelError: a layer caches something else.
    """
    kinds = {type(layer).__name__ for layer in DynamicCache(config=model.config).layers}
    if unknown := sorted(kinds - OF_TOKENS - OF_STATES):
        raise ModelError(f"its layers cache in a {unknown[0]}, which cannot be shared by several samples")
    return kinds <= OF_TOKENS


class ReadingCache:
    """A model's cache, with one row for each sequence that is read.

    whole: also in layers with a sliding window, keep every token until the first `select`, so that a row can be cut
    where a shorter prompt ends. Masks do not depend on what is kept.
    """

    def __init__(self, model: PreTrainedModel, *, whole: bool = False):
        self._cache = DynamicCache(config=model.config)
        self._layers: list[Any] = self._cache.layers
        self._windowed = {
            i: layer
            for i, layer in enumerate(self._layers)
            if whole and isinstance(layer, DynamicSlidingWindowLayer)
        }
        for i in self._windowed:
            self._layers[i] = DynamicLayer()
        known = inspect.signature(model.forward).parameters
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
        self._accepts = None if takes_any else frozenset(known)
        self._name = next((name for name in CACHE_NAMES if name in known), CACHE_NAMES[0])
        self._model = model

    def read(self, input_ids: Tensor, inputs: Mapping[str, Any], columns: Tensor | None = None) -> Tensor:
        """Add tokens (R, T) to the cache. Returns their logits, (R, T, V), or of some columns alone.

        `inputs` that the model does not know are left out: positions, where it has none.
        """
        inputs = dict(inputs)
        if columns is not None:
            inputs["logits_to_keep"] = columns
        if self._accepts is not None:
            inputs = {name: value for name, value in inputs.items() if name in self._accepts}
        out = self._model(input_ids=input_ids, use_cache=True, **{self._name: self._cache}, **inputs)
        if columns is not None and out.logits.shape[1] != len(columns):
            return out.logits[:, columns]
        return out.logits

    def expand(self, num_rows: int) -> None:
        """Repeat the only row."""
        self._reorder(torch.zeros(num_rows, dtype=torch.int64, device=self._model.device))

    def select(self, rows: Tensor, shift: Tensor | None = None) -> None:
        """Give the cache the given rows (S,), each moved right by shift (S,) positions, over those at its end."""
        self._reorder(rows)
        if shift is not None:
            for layer in filter(lambda layer: layer.is_initialized, self._layers):
                layer.keys, layer.values = moved_right(layer.keys, shift), moved_right(layer.values, shift)
        for i, layer in self._windowed.items():
            layer.update(self._layers[i].keys, self._layers[i].values)  # which keeps the window
            self._layers[i] = layer
        self._windowed = {}

    def _reorder(self, rows: Tensor) -> None:
        for layer in self._layers:
            layer.reorder_cache(rows)


def moved_right(values: Tensor, shift: Tensor) -> Tensor:
    """values (S, ..., L, D) with row i moved by shift[i] along L; what moves out at the end comes in at the start.

    >>> moved_right(torch.arange(6).view(2, 3, 1), torch.tensor([0, 1])).flatten().tolist()
    [0, 1, 2, 5, 3, 4]
    """
    length = values.shape[-2]
    source = (torch.arange(length, device=values.device) - shift[:, None]) % length  # (S, L)
    index = source.view(len(values), *[1] * (values.dim() - 3), length, 1).expand(values.shape)
    return values.gather(-2, index)
