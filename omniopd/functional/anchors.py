"""The scheduler: which chunks of a response are audited (method.md, section 2.2).

An anchor t is the start of the chunk [t, t + chunk_len). Anchors are returned in ascending order, possibly fewer
than num_chunks.
"""

import random
from collections.abc import Iterable, Sequence


def peak_entropy(entropies: Sequence[float], *, num_chunks: int, chunk_len: int) -> list[int]:
    """Anchors at the positions of highest entropy whose chunks fit and overlap none taken before.

    Ties go to the larger position.
    """
    by_entropy = sorted(range(len(entropies)), key=lambda t: (entropies[t], t), reverse=True)
    return _take(by_entropy, len(entropies), num_chunks, chunk_len)


def random_anchors(response_len: int, *, num_chunks: int, chunk_len: int, rng: random.Random) -> list[int]:
    """Anchors in an order drawn from rng, under the same rules: the ablation of the scheduler."""
    order = list(range(response_len))
    rng.shuffle(order)
    return _take(order, response_len, num_chunks, chunk_len)


def uniform_stride(response_len: int, *, num_chunks: int, chunk_len: int) -> list[int]:
    """Up to num_chunks anchors spread evenly from the first position to the last that fits."""
    last = response_len - chunk_len
    if last < 0:
        return []
    count = min(num_chunks, last // chunk_len + 1)
    return [last * i // (count - 1) if count > 1 else 0 for i in range(count)]


def _take(order: Iterable[int], response_len: int, num_chunks: int, chunk_len: int) -> list[int]:
    if num_chunks < 1 or chunk_len < 1:
        raise ValueError(f"num_chunks and chunk_len must be positive, found {num_chunks} and {chunk_len}")
    taken: list[int] = []
    for t in order:
        if len(taken) == num_chunks:
            break
        fits = t + chunk_len <= response_len
        if fits and all(abs(t - other) >= chunk_len for other in taken):
            taken.append(t)
    return sorted(taken)
