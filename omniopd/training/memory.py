"""The memory of a training step, estimated from a model's configuration before anything is loaded.

It counts the tensors of one process. The libraries need a few hundred MiB more, and generation has its own peak.
"""

import json
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor, UntypedStorage, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from omniopd.config import Lora
from omniopd.errors import ModelError, one_line
from omniopd.functional import Score, sheet_bytes
from omniopd.models.adapters import add_adapter
from omniopd.models.precision import backbone_of

DTYPES = {4: torch.float32, 2: torch.bfloat16}
MASTER = 4  # bytes of a weight that is trained, of its gradient, and of each of its optimiser's two moments
# For what the allocator keeps between tensors: 4 to 15 % as measured on the CPU. With gradient_checkpointing glibc
# keeps up to 90 %, unless MALLOC_MMAP_THRESHOLD_ makes it return what is freed.
ALLOWANCE = 1.08
PROBES = (32, 64)  # tokens read to measure what each keeps: few, so that quadratic terms do not count


@dataclass(frozen=True)
class ModelSize:
    """The sizes of a model that decide its memory."""

    num_parameters: int
    head_size: int  # weights of its head
    num_embeddings: int  # of its head and its embedding, once where they are the same
    vocab_size: int
    width: int
    num_layers: int
    kept_per_token: float  # bytes that a forward pass keeps for the backward pass
    kept: float  # the same, once per pass: weights cast to another precision


@dataclass(frozen=True)
class StepShape:
    """What of an optimiser step decides the memory that one process takes."""

    num_sequences: int  # in one forward pass
    seq_len: int  # tokens of the longest sequence, prompt and response
    response_len: int  # tokens of the longest response
    scores: Set[Score]  # that the loss is made of
    # Of each frozen model; stored in compute_bytes, or in float32 where they are divided.
    frozen_parameters: Sequence[int] = ()
    # Of the numbers in products: 4 (float32) or 2 (bfloat16). Trained weights stay float32.
    compute_bytes: int = 4
    gradient_checkpointing: bool = False
    lora_parameters: int | None = None  # weights of the adapter; None where the whole model is trained
    num_sharing: int = 1  # processes among which weights, gradients and moments are divided
    accumulates: bool = True  # whether a step has more than one forward pass
    num_copies: int = 0  # of the student as it was in an earlier round
    on_gpu: bool = False  # where the loss is computed by kernels, in longer slices

    @property
    def trains_head(self) -> bool:
        """Whether the head's gradient is computed."""
        return self.lora_parameters is None


@dataclass(frozen=True)
class Memory:
    """Bytes of one training process.

    Not all of it at once: activations and loss are gone when the optimiser steps, and `peak` is of the fullest moment.
    """

    parameters: int
    gradients: int
    moments: int
    frozen: int  # weights of the reference, the teacher and earlier copies of the student
    activations: int  # of one forward pass, and of one layer in the backward pass
    loss: int  # sheets of logits and their gradients
    working: int  # temporaries of the optimiser's step and of the embedding's gradient
    peak: int


def size_of(config: PretrainedConfig, *, compute_bytes: int = 4, weight_bytes: int = MASTER) -> ModelSize:
    """The size of a model, by building it and reading a few tokens with tensors that have shapes and no values.

    compute_bytes: of the numbers that products are taken in, 4 (float32) or 2 (bfloat16); weight_bytes: of the weights.

    Raises:
        ModelError: the model cannot be built or read so.
    """
    return _size_of(config.to_json_string(use_diff=False), type(config), compute_bytes, weight_bytes)


def training_memory(model: ModelSize, step: StepShape) -> Memory:
    """Bytes of one process in that optimiser step; `model` is the student, measured at the same compute_bytes."""
    num_trained = model.num_parameters if step.lora_parameters is None else step.lora_parameters
    parameters = model.num_parameters * MASTER
    if step.lora_parameters is not None:
        parameters = model.num_parameters * step.compute_bytes + step.lora_parameters * MASTER
    frozen = step.num_copies * parameters
    frozen += sum(step.frozen_parameters) * (step.compute_bytes if step.num_sharing == 1 else MASTER)
    parameters, gradients, moments, frozen = (
        -(-size // step.num_sharing)
        for size in (parameters, num_trained * MASTER, 2 * num_trained * MASTER, frozen)
    )
    if step.num_sharing > 1:  # gathered at a time: two layers, the embedding and the head
        layer = (model.num_parameters - model.num_embeddings) // model.num_layers
        parameters += (model.num_embeddings + 2 * layer) * step.compute_bytes
    activations, loss = _activations(model, step), _loss(model, step)
    head = 2 * model.head_size * MASTER * step.trains_head
    working = max(num_trained * MASTER // step.num_sharing, head)
    backward = gradients * step.accumulates + activations + loss
    peak = parameters + moments + frozen + max(gradients + working, backward)
    return Memory(parameters, gradients, moments, frozen, activations, loss, working, round(peak * ALLOWANCE))


def _activations(model: ModelSize, step: StepShape) -> int:
    num_tokens = step.num_sequences * step.seq_len
    kept = num_tokens * model.kept_per_token
    layer = kept / model.num_layers
    if step.gradient_checkpointing:
        kept = num_tokens * model.num_layers * model.width * MASTER
    once = 0.0 if step.num_sharing > 1 else model.kept  # divided weights are cast when they are gathered
    return round(kept + layer + once)


def _loss(model: ModelSize, step: StepShape) -> int:
    num_scored = step.num_sequences * step.response_len
    loss = sheet_bytes(
        step.scores,
        num_positions=num_scored,
        vocab_size=model.vocab_size,
        compute_bytes=step.compute_bytes,
        on_gpu=step.on_gpu,
    )
    loss += num_scored * model.width * (4 + step.compute_bytes * (1 + len(step.frozen_parameters)))
    loss += model.head_size * MASTER * step.trains_head
    if step.compute_bytes < MASTER:
        loss += model.head_size * step.compute_bytes
    return loss


def count_parameters(config: PretrainedConfig, lora: Lora | None = None) -> int:
    """The trained weights of a model, from its configuration: all of them, or those of its adapter.

    Raises:
        ModelError: the model cannot be built, or has no layer that the adapter names.
    """
    return _count(config.to_json_string(use_diff=False), type(config), lora and lora.model_dump_json())


@lru_cache(maxsize=8)
def _count(config: str, kind: type[PretrainedConfig], lora: str | None) -> int:
    settings = _config_of(config, kind)
    with _estimating(settings), torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(settings)
        if lora is not None:
            add_adapter(model, Lora.model_validate_json(lora), seed=0)
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _number(value: dict[str, Any]) -> Any:
    """transformers writes infinity, which JSON does not have, as {"__float__": "Infinity"}."""
    return float(value["__float__"]) if value.keys() == {"__float__"} else value


def _config_of(config: str, kind: type[PretrainedConfig]) -> PretrainedConfig:
    settings = kind.from_dict(json.loads(config, object_hook=_number))
    assert isinstance(settings, PretrainedConfig)
    return settings


@lru_cache(maxsize=8)
def _size_of(config: str, kind: type[PretrainedConfig], compute_bytes: int, weight_bytes: int) -> ModelSize:
    settings = _config_of(config, kind)
    with _estimating(settings):
        try:
            model, few, more = _read(settings, DTYPES[weight_bytes], autocast=compute_bytes == 2)
            factor = 1
        except RuntimeError:  # experts, whose products are known in bfloat16 alone
            model, few, more = _read(settings, torch.bfloat16, autocast=False)
            factor = compute_bytes // 2
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    assert isinstance(head, nn.Module)
    assert isinstance(embedding, nn.Module)
    weights = {id(layer.weight): layer.weight for layer in (head, embedding)}
    slope = factor * (more - few) / (PROBES[1] - PROBES[0])
    text = settings.get_text_config()
    return ModelSize(
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        head_size=cast(Tensor, head.weight).numel(),
        num_embeddings=sum(cast(Tensor, weight).numel() for weight in weights.values()),
        vocab_size=text.vocab_size,
        width=text.hidden_size,
        num_layers=text.num_hidden_layers,
        kept_per_token=slope,
        kept=max(0.0, few - PROBES[0] * slope),
    )


def _read(
    config: PretrainedConfig, dtype: torch.dtype, *, autocast: bool
) -> tuple[PreTrainedModel, int, int]:
    """The model without values, and what it keeps of each of PROBES."""
    with FakeTensorMode(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
        few, more = (_kept(model, count) for count in PROBES)
    return model, few, more


def _kept(model: PreTrainedModel, num_tokens: int) -> int:
    """Bytes that a forward pass over so many tokens keeps beside the weights."""
    weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    kept: dict[int, UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        _ = backbone_of(model)(input_ids=torch.zeros((1, num_tokens), dtype=torch.int64), use_cache=False)
    return sum(storage.nbytes() for name, storage in kept.items() if name not in weights)


@contextmanager
def _estimating(config: PretrainedConfig) -> Iterator[None]:
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # whatever a model's own code raises of tensors without values
        raise ModelError(
            f"the memory that a {config.model_type} takes cannot be estimated ({one_line(error)}); watch the first step"
        ) from error
