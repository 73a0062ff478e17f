"""Batched sampling with a KV cache, one random stream a sequence. Axes: B sequences, V vocabulary."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel


@dataclass(frozen=True)
class Generation:
    """The tokens that a model wrote after a prompt; the end token, when written, is the last.

    >>> Generation([5, 10, 16], "stop").token_ids
    [5, 10, 16]
    """

    token_ids: list[int]
    finish_reason: str  # "stop": the end token was written; "length": max_new_tokens were


@torch.inference_mode()
def generate(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    seeds: Sequence[Sequence[int]],
    max_new_tokens: int,
    temperature: float,
    end_id: int,
) -> list[list[Generation]]:
    """len(seeds[i]) samples after each prompt i, as one batch; temperature 0 is greedy.

    Every sample draws from a stream of its own seed, one uniform number a token, so what it draws
    does not depend on its neighbours. Its logits do, by rounding: callers who promise equal bytes
    hand in the same batches in the same order. What samples of a prompt have in common is read once.
    """
    num_samples = len(seeds[0])
    if any(len(own) != num_samples for own in seeds) or len(seeds) != len(prompts):
        raise ValueError("each prompt needs the same number of seeds")
    device = model.device
    input_ids, mask = _left_pad(prompts, end_id)
    input_ids, mask = input_ids.to(device), mask.to(device)
    uniforms = _uniforms([seed for own in seeds for seed in own], max_new_tokens).to(device)
    cache = DynamicCache(config=model.config)
    # Without padding no mask is needed, and attention takes its fast path.
    padded = not bool(mask.all())
    step_inputs = {"attention_mask": mask, "position_ids": _positions(mask)} if padded else {}
    out = model(input_ids=input_ids, past_key_values=cache, use_cache=True, logits_to_keep=1, **step_inputs)
    logits = out.logits[:, -1]  # (R, V): R rows of the cache
    row = torch.arange(len(prompts), device=device).repeat_interleave(
        num_samples
    )  # (B,): what a sample has read
    written = torch.full((len(row), max_new_tokens), end_id, device=device)
    running = torch.ones(len(row), dtype=torch.bool, device=device)
    for step in range(max_new_tokens):
        token = torch.where(running, _sample(logits[row], uniforms[:, step], temperature), end_id)
        written[:, step] = token
        running = running & (token != end_id)
        if step + 1 == max_new_tokens or not bool(running.any()):
            break
        parent, token, row = _advance(row, token, running, vocab_size=logits.shape[-1])
        if len(parent) != len(logits) or not torch.equal(parent, torch.arange(len(parent), device=device)):
            cache.batch_select_indices(parent)
            mask = mask[parent]
        if padded:
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
            step_inputs = {"attention_mask": mask, "position_ids": mask.sum(1, keepdim=True) - 1}
        out = model(input_ids=token[:, None], past_key_values=cache, use_cache=True, **step_inputs)
        logits = out.logits[:, -1]
    samples = [_generation(row, end_id) for row in written.tolist()]
    return [samples[i : i + num_samples] for i in range(0, len(samples), num_samples)]


def _advance(
    row: Tensor, token: Tensor, running: Tensor, *, vocab_size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """What to read next, each row once: (R,) the row that it goes on from, (R,) its token; and (B,) each sample's row.

    Running samples that have read the same row and wrote the same token go on as one. Finished ones
    go on as none: theirs is any row.
    """
    pairs, own = torch.unique(row[running] * vocab_size + token[running], return_inverse=True)
    return pairs // vocab_size, pairs % vocab_size, torch.zeros_like(row).masked_scatter(running, own)


def _generation(token_ids: list[int], end_id: int) -> Generation:
    if end_id in token_ids:
        return Generation(token_ids[: token_ids.index(end_id) + 1], "stop")
    return Generation(token_ids, "length")


def _sample(logits: Tensor, uniform: Tensor, temperature: float) -> Tensor:
    """The token at which the cumulative probability first exceeds the uniform number. (B, V) → (B,)"""
    if temperature == 0:
        return logits.argmax(-1)
    cumulative = (logits.double() / temperature).softmax(-1).cumsum(-1)
    # Scaled by the last sum, which rounding leaves beside 1, so that the draw stays in range.
    token = torch.searchsorted(cumulative, uniform[:, None] * cumulative[:, -1:], right=True)
    return token.squeeze(-1).clamp_(max=logits.shape[-1] - 1)


def _uniforms(seeds: Sequence[int], count: int) -> Tensor:
    """`count` numbers in [0, 1) for each seed, float64."""
    generator = torch.Generator()
    rows = [torch.rand(count, generator=generator.manual_seed(seed), dtype=torch.float64) for seed in seeds]
    return torch.stack(rows)


def _left_pad(prompts: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    length = max(map(len, prompts))
    input_ids = torch.full((len(prompts), length), pad_id)
    mask = torch.zeros((len(prompts), length), dtype=torch.int64)
    for i, prompt in enumerate(prompts):
        input_ids[i, length - len(prompt) :] = torch.tensor(prompt)
        mask[i, length - len(prompt) :] = 1
    return input_ids, mask


def _positions(mask: Tensor) -> Tensor:
    return (mask.cumsum(-1) - 1).clamp(min=0)
