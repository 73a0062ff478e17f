"""Chunks compared a second."""

import random

from rapidfuzz.distance import Levenshtein

from benchmarks.figure import Figure, alternating
from omniopd.methods.agreement import similarities

NUM_PAIRS, ROUNDS = 50_000, 9


def figures() -> list[Figure]:
    """Edit similarity of chunks of the demo's length and of the published one, against plain rapidfuzz."""
    return [_figure(size) for size in (2, 200)]


def _figure(size: int) -> Figure:
    rng = random.Random(0)
    texts = ["".join(rng.choices("abcdefgh ", k=size)) for _ in range(2 * NUM_PAIRS)]
    pairs = list(zip(texts[::2], texts[1::2], strict=True))

    def ours() -> int:
        return len(similarities("edit", pairs))

    def theirs() -> int:
        return len([Levenshtein.normalized_similarity(a, b) for a, b in pairs])

    return Figure(
        f"edit similarity, {size} characters", "pairs/s", *_flat(alternating(ours, theirs, rounds=ROUNDS))
    )


def _flat(rates: tuple[float, float]) -> tuple[float, str, float]:
    return rates[0], "rapidfuzz called directly", rates[1]
