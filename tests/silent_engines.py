"""Engines in whose memory something happens after a weight sync, for campaigns of silent faults."""

import copy
import random
from collections.abc import Callable
from typing import Any

import fake_vllm
import torch
from silent_faults import flip_weight
from torch import Tensor
from transformers import PreTrainedModel

from omniopd.config import Lora

LORA = Lora(rank=2, alpha=5.0, targets="all-linear")
Damage = Callable[[Any], object]


class Damaged(fake_vllm.Worker):
    """An engine in whose memory something happens after each weight sync."""

    damage: Damage | None = None

    def reload_weights(self, weights_iterator) -> None:
        before = copy.deepcopy(dict(self.model_runner.get_model().named_parameters()))
        super().reload_weights(weights_iterator)
        self._happen(before)

    def load_adapter(self, folder: str) -> None:
        before = {
            name: [copy.deepcopy(layer.lora_a_stacked), copy.deepcopy(layer.lora_b_stacked)]
            for name, layer in fake_vllm.adapted(self.model_runner.get_model())
        }
        super().load_adapter(folder)
        self._happen(before)

    def _happen(self, before: Any) -> None:
        model = self.model_runner.get_model()
        model.before = before
        if Damaged.damage is not None:
            Damaged.damage(model)


def moved(model: PreTrainedModel, seed: int, *, only: str = "") -> PreTrainedModel:
    """A copy as an optimiser step leaves it."""
    other, rng = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in other.named_parameters():
            if only in name:
                weight.add_(torch.randn(weight.shape, generator=rng) * 0.1)
    return other


def weights_of(model: Any) -> dict[str, Tensor]:
    return dict(model.named_parameters())


def bit_in_memory(rng: random.Random) -> Damage:
    return lambda model: flip_weight(rng.choice(list(weights_of(model).values())), rng)


def stale_weight(rng: random.Random) -> Damage:
    def damage(model: Any) -> None:
        name = rng.choice(list(model.before))
        weights_of(model)[name].data.copy_(model.before[name])

    return damage


def stale(model: Any) -> None:
    for name, weight in weights_of(model).items():
        weight.data.copy_(model.before[name])


def missing_weight(rng: random.Random) -> Damage:
    return lambda model: rng.choice(list(weights_of(model).values())).data.zero_()


def swapped_weights(rng: random.Random) -> Damage:
    def damage(model: Any) -> None:
        weights = [weight for name, weight in weights_of(model).items() if "_proj" in name]
        first = rng.choice(weights)
        second = rng.choice(
            [weight for weight in weights if weight.shape == first.shape and weight is not first]
        )
        first.data, second.data = second.data, first.data

    return damage


WEIGHTS: dict[str, tuple[int, Callable[[random.Random], Damage]]] = {
    "a bit in the memory of an engine": (24, bit_in_memory),
    "a stale weight in an engine": (6, stale_weight),
    "stale weights in an engine": (1, lambda _: stale),
    "a weight that is missing in an engine": (6, missing_weight),
    "two layers of an engine swapped": (6, swapped_weights),
}


def stacks(model: Any) -> dict[str, Tensor]:
    """The adapter's weights in an engine, by name."""
    return {
        f"{name}.{side}": stacked[0]
        for name, layer in fake_vllm.adapted(model)
        for side, stacked in (("A", layer.lora_a_stacked), ("B", layer.lora_b_stacked))
    }


def adapter_bit(rng: random.Random) -> Damage:
    return lambda model: flip_weight(rng.choice(list(stacks(model).values())), rng)


def adapter_scale(rng: random.Random) -> Damage:
    factor = rng.choice((LORA.rank / LORA.alpha, 2.0, 0.5, -1.0, 1.01))
    return lambda model: [stack.mul_(factor) for name, stack in stacks(model).items() if name.endswith("B")]


def adapter_stale(model: Any) -> None:
    for name, layer in fake_vllm.adapted(model):
        for stacked, before in zip(
            (layer.lora_a_stacked, layer.lora_b_stacked), model.before[name], strict=True
        ):
            stacked[0].copy_(before[0])


def adapter_layer_missing(rng: random.Random) -> Damage:
    return lambda model: rng.choice(list(stacks(model).values())).zero_()


def adapter_layers_swapped(rng: random.Random) -> Damage:
    def damage(model: Any) -> None:
        known = stacks(model)
        first = rng.choice(list(known.values()))
        second = rng.choice(
            [other for other in known.values() if other.shape == first.shape and other is not first]
        )
        kept = first.clone()
        first.copy_(second)
        second.copy_(kept)

    return damage


def base_bit(rng: random.Random) -> Damage:
    return lambda model: flip_weight(rng.choice(list(weights_of(model).values())), rng)


ADAPTERS: dict[str, tuple[int, Callable[[random.Random], Damage]]] = {
    "a bit of an adapter in an engine": (14, adapter_bit),
    "an adapter of another scale": (5, adapter_scale),
    "a stale adapter": (1, lambda _: adapter_stale),
    "a layer that an adapter lacks in an engine": (4, adapter_layer_missing),
    "two layers of an adapter swapped": (4, adapter_layers_swapped),
    "a bit of the base under an adapter": (4, base_bit),
}
