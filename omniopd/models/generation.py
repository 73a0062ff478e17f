"""Batched sampling with a KV cache, one random stream per sequence. Axes: B sequences, V vocabulary."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache, PreTrainedModel

from omniopd.data.decoding import Decoding
from omniopd.functional import token_entropy, token_logp, truncated
from omniopd.models.chat import StopStrings


@dataclass(frozen=True)
class Generation:
    """The tokens that a model wrote after a prompt, up to a stop token or the end of a stop string if it wrote one.

    `entropies[t]` and `logps[t]` (nats, at temperature 1) are of the distribution that produced token t; empty unless
    requested.

    >>> Generation([5, 10, 16], "stop").token_ids
    [5, 10, 16]
    """

    token_ids: list[int]
    finish_reason: str  # "stop": a stop token or string was written; "length": max_new_tokens were
    entropies: list[float] = field(default_factory=list)
    logps: list[float] = field(default_factory=list)


@torch.inference_mode()
def generate(
    model: PreTrainedModel,
    prompts: Sequence[list[int]],
    *,
    seeds: Sequence[Sequence[int]],
    max_new_tokens: int,
    decoding: Decoding,
    stop_ids: Sequence[int],
    strings: StopStrings | None = None,
    scored: bool = False,
) -> list[list[Generation]]:
    """len(seeds[i]) samples after each prompt i, as one batch. scored: add entropies, logps.

    A sample ends at the first of stop_ids or where the first of the stop strings is complete; it includes both.

    Each sample draws from the stream of its seed, one uniform number per token, independently of the batch. Its logits
    depend on the batch by rounding: for identical bytes, pass the same batches in the same order. Common prefixes, of
    samples of a prompt and of prompts that begin each other, are read once.
    """
    num_samples = len(seeds[0])
    if any(len(group) != num_samples for group in seeds) or len(seeds) != len(prompts):
        raise ValueError("each prompt needs the same number of seeds")
    uniforms = _uniforms(chain.from_iterable(seeds), max_new_tokens).to(model.device)
    cache = DynamicCache(config=model.config)
    # Of S states, at first the prompts: logits of the next token, row of the cache, mask over that row.
    logits, cached, mask = _read(model, prompts, cache, pad_id=stop_ids[0])  # (S, V), (S,), (S, L)
    # Without padding no mask is needed, and attention takes its fast path.
    padded = not bool(mask.all())
    state = torch.arange(len(prompts), device=model.device).repeat_interleave(num_samples)  # (B,)
    stops = torch.tensor(stop_ids, device=model.device)
    written = torch.full((len(state), max_new_tokens), stop_ids[0], device=model.device)
    scores = torch.zeros(2, len(state), max_new_tokens if scored else 0, device=model.device)
    running = torch.ones(len(state), dtype=torch.bool, device=model.device)
    ended_at: dict[int, int] = {}  # the last step of samples that a stop string ended
    for step in range(max_new_tokens):
        token = torch.where(running, _sample(logits[state], uniforms[:, step], decoding), stop_ids[0])
        written[:, step] = token
        if scored:
            scores[:, :, step] = torch.stack([token_entropy(logits)[state], token_logp(logits[state], token)])
        running = running & ~torch.isin(token, stops)
        if strings is not None:
            ended = _ended_by(strings, written[:, : step + 1], running)
            ended_at |= dict.fromkeys(ended, step)
            running[ended] = False
        if step + 1 == max_new_tokens or not bool(running.any()):
            break
        parent, token, state = _advance(state, token, running, vocab_size=logits.shape[-1])
        cached, mask = _select(cache, cached, parent), mask[parent]
        step_inputs = {}
        if padded:
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
            step_inputs = {"attention_mask": mask, "position_ids": mask.sum(1, keepdim=True) - 1}
        out = model(input_ids=token[:, None], past_key_values=cache, use_cache=True, **step_inputs)
        logits = out.logits[:, -1]
    samples = [
        _generation(row, stop_ids, ended_at.get(i), *row_scores)
        for i, (row, *row_scores) in enumerate(zip(written.tolist(), *scores.tolist(), strict=True))
    ]
    return [samples[i : i + num_samples] for i in range(0, len(samples), num_samples)]


def _ended_by(strings: StopStrings, written: Tensor, running: Tensor) -> list[int]:
    """The running rows of the written tokens that a stop string has just ended."""
    rows = running.nonzero().flatten()
    tails = written[rows, -strings.num_tokens :].tolist()
    return [row for row, tail in zip(rows.tolist(), tails, strict=True) if strings.end(tail)]


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


def _read(
    model: PreTrainedModel, prompts: Sequence[list[int]], cache: DynamicCache, *, pad_id: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Fill the cache. Returns (P, V) logits after each prompt, (P,) its row of the cache, (P, L) the mask over it."""
    rows, row_of_prompt = nested(prompts)
    ids = [torch.tensor(row, dtype=torch.int64) for row in rows]
    left_pad = partial(pad_sequence, batch_first=True, padding_side="left")
    input_ids = left_pad(ids, padding_value=pad_id).to(model.device)
    mask = left_pad([torch.ones_like(row) for row in ids]).to(model.device)
    cached = torch.tensor(row_of_prompt, device=model.device)
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=model.device)
    end = (mask.shape[1] - mask.sum(1))[cached] + lengths
    columns, column = torch.unique(end - 1, return_inverse=True)
    inputs = {}
    if not mask.all():
        inputs = {"attention_mask": mask, "position_ids": (mask.cumsum(-1) - 1).clamp(min=0)}
    out = model(input_ids=input_ids, past_key_values=cache, use_cache=True, logits_to_keep=columns, **inputs)
    # The rest of the row, after the end of a prompt, belongs to a longer one.
    seen = mask[cached] * (torch.arange(mask.shape[1], device=model.device) < end[:, None])
    return out.logits[cached, column], cached, seen


def _select(cache: DynamicCache, cached: Tensor, parent: Tensor) -> Tensor:
    """Give the cache one row for each parent, that of cached[parent]. Returns their row numbers."""
    rows, numbers = cached[parent], torch.arange(len(parent), device=parent.device)
    if len(rows) != int(cached.max()) + 1 or not torch.equal(rows, numbers):
        cache.batch_select_indices(rows)
    return numbers


def _advance(
    state: Tensor, token: Tensor, running: Tensor, *, vocab_size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The next states: (S,) the parent of each, (S,) its token; and (B,) the state of each sample.

    Running samples with the same state and token share the next one; that of a finished sample is arbitrary.
    """
    pairs, next_state = torch.unique(state[running] * vocab_size + token[running], return_inverse=True)
    return (
        pairs // vocab_size,
        pairs % vocab_size,
        torch.zeros_like(state).masked_scatter(running, next_state),
    )


def _generation(
    token_ids: list[int],
    stop_ids: Sequence[int],
    ended_at: int | None,
    entropies: list[float],
    logps: list[float],
) -> Generation:
    last = (
        next((t for t, id in enumerate(token_ids) if id in stop_ids), None) if ended_at is None else ended_at
    )
    end = None if last is None else last + 1
    return Generation(token_ids[:end], "length" if end is None else "stop", entropies[:end], logps[:end])


def _sample(logits: Tensor, uniform: Tensor, decoding: Decoding) -> Tensor:
    """The token at which the cumulative probability first exceeds the uniform number. (B, V) → (B,)"""
    if decoding.temperature == 0:
        return logits.argmax(-1)
    exact = logits.double()
    # Relative to the likeliest token, so that no temperature is too small.
    scaled = (exact - exact.amax(-1, keepdim=True)) / decoding.temperature
    if decoding.is_truncated:
        scaled = truncated(scaled, top_p=decoding.top_p, top_k=decoding.top_k, min_p=decoding.min_p)
    cumulative = scaled.softmax(-1).cumsum(-1)
    # Scaled by the last sum, which is 1 up to rounding, so that the draw stays in range.
    token = torch.searchsorted(cumulative, uniform[:, None] * cumulative[:, -1:], right=True)
    return token.squeeze(-1).clamp_(max=logits.shape[-1] - 1)


def _uniforms(seeds: Iterable[int], count: int) -> Tensor:
    """`count` numbers in [0, 1) for each seed, float64."""
    generator = torch.Generator()
    rows = [torch.rand(count, generator=generator.manual_seed(seed), dtype=torch.float64) for seed in seeds]
    return torch.stack(rows)
