"""Failures of the teacher and of the grader: counted by reason, and whether there are too many to continue."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from omniopd.data.records import Trajectory, Verdict
from omniopd.errors import RunError
from omniopd.methods import Annotated

NOT_IN_NAMES = re.compile(r"[^\w .:-]", re.ASCII)  # characters that MLflow refuses in a metric's name
MAX_NAME_LEN = 100


def stop_at_failures(
    rows: Sequence[Trajectory | Verdict], shards: Sequence[Path], *, most: float, round_: int
) -> None:
    """Raise if more than the share `most` of a round's rows failed, and remove the shards so that they are asked again.

    Replies that arrived stay in the cache, so the next attempt pays for the failures alone.

    Raises:
        RunError: with each reason and its count.
    """
    reasons = Counter(row.failure for row in rows if row.failure)
    if reasons.total() <= most * len(rows):
        return
    for path in shards:
        path.unlink(missing_ok=True)
    table = "\n".join(f"  {count:6d}  {reason}" for reason, count in reasons.most_common())
    raise RunError(
        f"round {round_}: the teacher failed {reasons.total()} of {len(rows)} requests, more than "
        f"teacher.max_failed_share ({most:g}) allows:\n{table}\n"
        "fix the causes or raise that share, then run the same command; the replies that arrived are kept"
    )


def failure_metrics(name: str, failures: Sequence[str]) -> dict[str, float]:
    """The number of failures as the metric `name`, and by reason as `name/reason`; an empty reason is no failure."""
    reasons = Counter(NOT_IN_NAMES.sub("_", failure)[:MAX_NAME_LEN] for failure in failures if failure)
    return {
        name: float(reasons.total()),
        **{f"{name}/{reason}": float(count) for reason, count in sorted(reasons.items())},
    }


def audited_share(annotated: Sequence[Annotated]) -> float:
    """The share of the responses' tokens in chunks to which the teacher replied: what the verdicts can train."""
    num_tokens = sum(len(item.trajectory.response_ids) for item in annotated)
    answered = [verdict for item in annotated for verdict in item.verdicts if verdict.replies]
    return min(1.0, sum(verdict.chunk_len for verdict in answered) / num_tokens) if num_tokens else 0.0
