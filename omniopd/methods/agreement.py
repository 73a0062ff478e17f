"""Similarity of many pairs of texts: the similarities of functional, and sentence embeddings."""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from omniopd import functional as F
from omniopd.errors import ModelError, one_line

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

EMBEDDING = "embedding:"  # followed by the name of a model
BATCH_SIZE = 64  # texts embedded at once; rounding depends on it


def similarities(name: str, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """phi of each pair, in [0, 1]; name is a key of `functional.SIMILARITIES`, or `embedding:` and a model.

    Embeddings: the cosine, and 0 if it is negative (method.md, section 3).

    Raises:
        ModelError: the model of the embeddings cannot be loaded.
    """
    if not name.startswith(EMBEDDING):
        phi = F.SIMILARITIES[name]
        return [phi(a, b) for a, b in pairs]
    if not pairs:
        return []
    # Each text once, sorted: the same pairs give the same batches.
    texts = sorted({text for pair in pairs for text in pair})
    embedded = _encoder(name.removeprefix(EMBEDDING)).encode(
        texts,
        batch_size=BATCH_SIZE,
        normalize_embeddings=True,
        show_progress_bar=False,
        convert_to_numpy=True,
    )
    vector = dict(zip(texts, embedded.astype("float64"), strict=True))
    return [1.0 if a == b else min(1.0, max(0.0, float(vector[a] @ vector[b]))) for a, b in pairs]


@lru_cache(maxsize=1)
def _encoder(model: str) -> "SentenceTransformer":
    from sentence_transformers import SentenceTransformer

    try:
        return SentenceTransformer(model, device="cpu", model_kwargs={"use_safetensors": True})
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{model}: cannot be loaded as a model of sentence embeddings ({one_line(error)}); "
            "set embedding_model to another directory or hub name"
        ) from error
