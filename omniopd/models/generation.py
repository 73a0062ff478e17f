"""Batched sampling with a KV cache, one random stream per sequence. Axes: B sequences, V vocabulary."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain

import torch
from torch import Tensor
from transformers import PreTrainedModel

from omniopd.data.decoding import Decoding
from omniopd.functional import token_entropy, token_logp, truncated
from omniopd.models.chat import StopStrings
from omniopd.models.precision import not_finite
from omniopd.models.reading import Prefixes, reading_of


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
    excluded: Sequence[int] = (),
    scored: bool = False,
) -> list[list[Generation]]:
    """len(seeds[i]) samples after each prompt i, as one batch. scored: add entropies, logps.

    A sample ends at the first of stop_ids or where the first of the stop strings is complete; it includes both.
    `excluded` ids are never chosen, the others in proportion to their probabilities; entropies and logps are of the
    whole distribution. See `excluded_ids`.

    Each sample draws from the stream of its seed, one uniform number per token, independently of the batch. Its logits
    depend on the batch by rounding: for identical bytes, pass the same batches in the same order. Common prefixes, of
    samples of a prompt and of prompts that begin each other, are read once, where the model's cache allows it.

    Raises:
        ModelError: the model cannot generate from a cache, see `reading_of`; or its logits are NaN or infinite.
    """
    num_samples = len(seeds[0])
    if any(len(group) != num_samples for group in seeds) or len(seeds) != len(prompts):
        raise ValueError("each prompt needs the same number of seeds")
    reading = reading_of(model)
    samples: list[list[Generation]] = [[] for _ in prompts]
    for batch in reading.batches(prompts):
        sampled, is_finite = _sampled(
            Prefixes(model, [prompts[i] for i in batch], reading, pad_id=stop_ids[0]),
            _uniforms(chain.from_iterable(seeds[i] for i in batch), max_new_tokens).to(model.device),
            num_samples=num_samples, decoding=decoding, stop_ids=stop_ids, strings=strings, excluded=excluded,
            scored=scored,
        )  # fmt: skip
        if not is_finite:
            raise not_finite(model)
        for n, i in enumerate(batch):
            samples[i] = sampled[n * num_samples : (n + 1) * num_samples]
    return samples


def _sampled(
    states: Prefixes, uniforms: Tensor, *, num_samples: int, decoding: Decoding, stop_ids: Sequence[int],
    strings: StopStrings | None, excluded: Sequence[int], scored: bool,
) -> tuple[list[Generation], bool]:  # fmt: skip
    """num_samples after each of the states, and whether all their logits were finite.

    A sample's draws are a row of uniforms (B, T).
    """
    device, (num_rows, max_new_tokens) = uniforms.device, uniforms.shape
    state = torch.arange(num_rows // num_samples, device=device).repeat_interleave(num_samples)  # (B,)
    stops = torch.tensor(stop_ids, device=device)
    never = torch.tensor(excluded, dtype=torch.int64, device=device)
    written = torch.full((num_rows, max_new_tokens), stop_ids[0], device=device)
    scores = torch.zeros(2, num_rows, max_new_tokens if scored else 0, device=device)
    running = torch.ones(num_rows, dtype=torch.bool, device=device)
    is_finite = torch.ones(num_rows, dtype=torch.bool, device=device)  # read once, at the end
    ended_at: dict[int, int] = {}  # the last step of samples that a stop string ended
    for step in range(max_new_tokens):
        logits = states.logits
        allowed = logits.index_fill(-1, never, -torch.inf) if excluded else logits
        sampled, has_numbers = _sample(allowed[state], uniforms[:, step], decoding)
        is_finite &= has_numbers
        token = torch.where(running, sampled, stop_ids[0])
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
        states.advance(parent, token)
    generations = [
        _generation(row, stop_ids, ended_at.get(i), *row_scores)
        for i, (row, *row_scores) in enumerate(zip(written.tolist(), *scores.tolist(), strict=True))
    ]
    return generations, bool(is_finite.all())


def _ended_by(strings: StopStrings, written: Tensor, running: Tensor) -> list[int]:
    """The running rows of the written tokens that a stop string has just ended."""
    rows = running.nonzero().flatten()
    tails = written[rows, -strings.num_tokens :].tolist()
    return [row for row, tail in zip(rows.tolist(), tails, strict=True) if strings.end(tail)]


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


def _sample(logits: Tensor, uniform: Tensor, decoding: Decoding) -> tuple[Tensor, Tensor]:
    """The token at which the cumulative probability first exceeds the uniform number. (B, V) → (B,)

    And whether the logits have neither NaN nor +inf: read off the result, without another pass over them.
    """
    if decoding.temperature == 0:
        token = logits.argmax(-1)  # of a NaN, where there is one
        return token, logits.gather(-1, token[:, None]).squeeze(-1).isfinite()
    exact = logits.double()
    # Relative to the likeliest token, so that no temperature is too small.
    scaled = (exact - exact.amax(-1, keepdim=True)) / decoding.temperature
    if decoding.is_truncated:
        scaled = truncated(scaled, top_p=decoding.top_p, top_k=decoding.top_k, min_p=decoding.min_p)
    cumulative = scaled.softmax(-1).cumsum(-1)
    # Scaled by the last sum, which is 1 up to rounding, so that the draw stays in range.
    total = cumulative[:, -1:].contiguous()
    token = torch.searchsorted(cumulative, uniform[:, None] * total, right=True)
    # At most the last token that has a probability.
    token = torch.minimum(token, torch.searchsorted(cumulative, total))
    return token.squeeze(-1), total.squeeze(-1).isfinite()


def _uniforms(seeds: Iterable[int], count: int) -> Tensor:
    """`count` numbers in [0, 1) for each seed, float64."""
    generator = torch.Generator()
    rows = [torch.rand(count, generator=generator.manual_seed(seed), dtype=torch.float64) for seed in seeds]
    return torch.stack(rows)
