"""The share of a response that is a loop, as written by a student that does not emit its end token."""

from collections.abc import Sequence

import numpy as np

MAX_PERIOD = 256  # tokens that a loop may repeat: a long paragraph
MIN_COPIES = 3  # of them in a row, the first included
MIN_LEN = 24  # tokens of all copies: rows of digits and table cells are shorter


def repetition(
    token_ids: Sequence[int],
    *,
    max_period: int = MAX_PERIOD,
    min_copies: int = MIN_COPIES,
    min_len: int = MIN_LEN,
) -> float:
    """The share of a response's tokens that are part of a loop; 0 of an empty response.

    A loop is a stretch of at least min_len tokens in which every token is the one `period` before it, for a period of
    max_period at most, and which holds min_copies periods or more. Its first copy counts, and so does a last one that
    is cut.

    >>> repetition([7, 1, 2, 3, 1, 2, 3, 1, 2, 9], min_len=6)
    0.0
    >>> repetition([7, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 9], min_len=6)
    0.8333333333333334
    """
    num_tokens = len(token_ids)
    if num_tokens < min_len:
        return 0.0
    ids = np.asarray(token_ids, dtype=np.int64)  # (T,)
    # (T + 1,): loops that begin at a token, minus those that end.
    edges = np.zeros(num_tokens + 1, dtype=np.int64)
    for period in range(1, min(max_period, num_tokens // min_copies) + 1):
        # Consecutive tokens equal to the one a period before.
        least = max(min_len, min_copies * period) - period
        same = ids[period:] == ids[:-period]  # (T − period,)
        if np.count_nonzero(same) < least:
            continue
        bounds = np.diff(same.astype(np.int8), prepend=0, append=0)
        starts, ends = (bounds == 1).nonzero()[0], (bounds == -1).nonzero()[0]
        long = ends - starts >= least
        np.add.at(edges, starts[long], 1)
        np.add.at(edges, ends[long] + period, -1)
    return int(np.count_nonzero(edges[:-1].cumsum() > 0)) / num_tokens
