"""The method's arithmetic once more, in plain Python, written from the paper's text and not from the code."""

import math
from collections import Counter
from collections.abc import Sequence


def softmax(z: Sequence[float]) -> list[float]:
    top = max(z)
    e = [math.exp(v - top) for v in z]
    return [v / sum(e) for v in e]


def entropy(z: Sequence[float]) -> float:
    return -sum(p * math.log(p) for p in softmax(z) if p > 0)


def kl(ref: Sequence[float], z: Sequence[float]) -> float:
    return sum(
        p * (math.log(p) - math.log(q)) for p, q in zip(softmax(ref), softmax(z), strict=True) if p > 0
    )


def levenshtein(a: str, b: str) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (x != y))
    return row[-1]


def edit(a: str, b: str) -> float:
    longest = max(len(a), len(b))
    return 1 - levenshtein(a, b) / longest if longest else 1.0


def rouge1(a: str, b: str) -> float:
    x, y = Counter(a.lower().split()), Counter(b.lower().split())
    if not x and not y:
        return 1.0
    overlap = sum(min(x[w], y[w]) for w in x)
    if not overlap:
        return 0.0
    precision, recall = overlap / sum(y.values()), overlap / sum(x.values())
    return 2 * precision * recall / (precision + recall)


def anchors(entropies: Sequence[float], m: int, c: int) -> list[int]:
    """Repeatedly the best position left: highest entropy, then the larger t."""
    taken: list[int] = []
    while len(taken) < m:
        free = [
            t
            for t in range(len(entropies) - c + 1)
            if not any(set(range(t, t + c)) & set(range(u, u + c)) for u in taken)
        ]
        if not free:
            break
        taken.append(max(free, key=lambda t: (entropies[t], t)))
    return sorted(taken)


def target(k: float, n: int, logps: Sequence[float], alpha: float) -> float:
    pi_bar = math.prod(math.exp(v) for v in logps) ** (1 / len(logps))
    return (k + alpha * pi_bar) / (n + alpha)


def beta_std(k: float, n: int, pi_bar: float, alpha: float) -> float:
    """Of the Beta distribution with the agreement as successes and the rest of N + alpha as failures."""
    a = k + alpha * pi_bar
    b = n + alpha - a
    return math.sqrt(a * b / ((a + b) ** 2 * (a + b + 1)))
