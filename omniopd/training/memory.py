"""What a training step takes of a machine's memory, from a model's configuration alone, before anything is loaded.

An estimate of the tensors of one process; the libraries' own few hundred MiB come on top, and so does what generation
holds at other times.
"""

import json
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import torch
from torch import Tensor, UntypedStorage, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from omniopd.config import Lora
from omniopd.errors import ModelError
from omniopd.functional import Score, sheet_bytes
from omniopd.models.adapters import add_adapter

DTYPES = {4: torch.float32, 2: torch.bfloat16}
MASTER = 4  # bytes of a weight that is trained, of its gradient, and of each of its optimiser's two moments
# For what an allocator holds between tensors: 4 to 15 % as measured on the CPU. With gradient_checkpointing the heap of
# glibc holds up to 0.9 of them there, unless MALLOC_MMAP_THRESHOLD_ says to give back what is freed.
ALLOWANCE = 1.08
PROBES = (32, 64)  # tokens read to find what each keeps: so few that what grows with their square is nothing


@dataclass(frozen=True)
class ModelSize:
    """What of a model decides the memory that it takes."""

    num_parameters: int
    head_size: int  # weights of its head
    num_embeddings: int  # of its head and its embedding, once where they are the same
    vocab_size: int
    width: int
    num_layers: int
    kept_per_token: float  # bytes that a forward pass keeps for the way back
    kept: float  # and once, whatever it reads: weights cast to another precision


@dataclass(frozen=True)
class Memory:
    """Bytes of one training process.

    Not all of it at once: activations and loss are gone when the optimiser steps, and `peak` is of the fullest moment.
    """

    parameters: int
    gradients: int
    moments: int
    frozen: int  # weights of the reference, the teacher and the student as it stood earlier
    activations: int  # of one forward pass, and of one layer on the way back
    loss: int  # sheets of logits, and the gradients that begin there
    working: int  # what the optimiser's step and the embedding's gradient take for themselves
    peak: int


def size_of(config: PretrainedConfig, *, compute_bytes: int = 4, weight_bytes: int = MASTER) -> ModelSize:
    """The size of a model, by building it and reading a few tokens with tensors that have shapes and no values.

    compute_bytes: of the numbers that products are taken in, 4 (float32) or 2 (bfloat16); weight_bytes: of the weights.

    Raises:
        ModelError: the model cannot be built or read so.
    """
    return _size_of(config.to_json_string(use_diff=False), type(config), compute_bytes, weight_bytes)


def training_memory(
    model: ModelSize,
    *,
    num_sequences: int,
    seq_len: int,
    response_len: int,
    scores: Set[Score],
    frozen: Sequence[int] = (),
    compute_bytes: int = 4,
    gradient_checkpointing: bool = False,
    lora_parameters: int | None = None,
    num_sharing: int = 1,
    accumulates: bool = True,
    num_copies: int = 0,
    on_gpu: bool = False,
) -> Memory:
    """Bytes of one process in an optimiser step.

    Args:
        model: The student, read at the same compute_bytes.
        num_sequences: In one forward pass.
        seq_len: Tokens of the longest, prompt and response.
        response_len: Of these the response's at most.
        scores: What the loss is made of.
        frozen: The weights of each model that is read beside it, held in compute_bytes, or where they are divided in
            float32.
        compute_bytes: 4 where products are taken in float32, 2 in bfloat16; weights that are trained stay float32.
        gradient_checkpointing: Whether of each layer only what goes in is kept.
        lora_parameters: Weights of an adapter that is trained in place of the model's; None without one.
        num_sharing: Processes that divide the weights, and all that is kept of them, among themselves.
        accumulates: Whether a step has more than one forward pass.
        num_copies: Of the student as it stood earlier, beside it.
        on_gpu: Whether the loss is worked on by kernels, in longer slices.
    """
    num_trained = model.num_parameters if lora_parameters is None else lora_parameters
    parameters = model.num_parameters * MASTER
    if lora_parameters is not None:
        parameters = model.num_parameters * compute_bytes + lora_parameters * MASTER
    others = num_copies * parameters
    gradients, moments = num_trained * MASTER, 2 * num_trained * MASTER
    others += sum(frozen) * (compute_bytes if num_sharing == 1 else MASTER)
    parameters, gradients, moments, others = (
        -(-own // num_sharing) for own in (parameters, gradients, moments, others)
    )
    if num_sharing > 1:  # whole at a time: two layers, and what is no layer's
        layer = (model.num_parameters - model.num_embeddings) // model.num_layers
        parameters += (model.num_embeddings + 2 * layer) * compute_bytes

    num_tokens, num_scored = num_sequences * seq_len, num_sequences * response_len
    kept = num_tokens * model.kept_per_token
    layer = kept / model.num_layers
    if gradient_checkpointing:
        kept = num_tokens * model.num_layers * model.width * MASTER
    once = 0.0 if num_sharing > 1 else model.kept  # divided weights are cast when they are gathered
    activations = round(kept + layer + once)

    trains_head = lora_parameters is None
    loss = sheet_bytes(
        scores,
        num_positions=num_scored,
        vocab_size=model.vocab_size,
        compute_bytes=compute_bytes,
        on_gpu=on_gpu,
    )
    loss += num_scored * model.width * (4 + compute_bytes * (1 + len(frozen)))
    loss += model.head_size * MASTER * trains_head
    if compute_bytes < MASTER:
        loss += model.head_size * compute_bytes
    working = max(num_trained * MASTER // num_sharing, 2 * model.head_size * MASTER * trains_head)

    held = parameters + moments + others
    peak = held + max(gradients + working, gradients * accumulates + activations + loss)
    return Memory(parameters, gradients, moments, others, activations, loss, working, round(peak * ALLOWANCE))


def count_parameters(config: PretrainedConfig) -> int:
    """The weights of a model, from its configuration.

    Raises:
        ModelError: it cannot be built.
    """
    return _count(config.to_json_string(use_diff=False), type(config), None)


def count_adapter(config: PretrainedConfig, lora: Lora) -> int:
    """The weights of an adapter of that model.

    Raises:
        ModelError: the model cannot be built, or has no layer that the adapter names.
    """
    return _count(config.to_json_string(use_diff=False), type(config), lora.model_dump_json())


@lru_cache(maxsize=8)
def _count(config: str, kind: type[PretrainedConfig], lora: str | None) -> int:
    settings = _config_of(config, kind)
    with _foretelling(settings), torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(settings)
        if lora is not None:
            add_adapter(model, Lora.model_validate_json(lora), seed=0)
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _config_of(config: str, kind: type[PretrainedConfig]) -> PretrainedConfig:
    settings = kind.from_dict(json.loads(config))
    assert isinstance(settings, PretrainedConfig)
    return settings


@lru_cache(maxsize=8)
def _size_of(config: str, kind: type[PretrainedConfig], compute_bytes: int, weight_bytes: int) -> ModelSize:
    settings = _config_of(config, kind)
    with _foretelling(settings):
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
        _ = model.base_model(input_ids=torch.zeros((1, num_tokens), dtype=torch.int64), use_cache=False)
    return sum(storage.nbytes() for name, storage in kept.items() if name not in weights)


@contextmanager
def _foretelling(config: PretrainedConfig) -> Iterator[None]:
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # whatever a model's own code raises of tensors without values
        first = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"the memory that a {config.model_type} takes cannot be foretold ({first}); watch the first step"
        ) from error
