"""Failures of the teacher and of the grader: counted, and too many for the round to continue, or not."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from omniopd.data.records import Trajectory, Verdict
from omniopd.errors import RunError
from omniopd.methods import Annotated

NO_NAME = re.compile(r"[^\w .:-]", re.ASCII)  # what MLflow takes in no name of a metric
LONGEST_NAME = 100


def stop_at_failures(
    rows: Sequence[Trajectory | Verdict], shards: Sequence[Path], *, most: float, round_: int
) -> None:
    """Raise where more than the share `most` of a round's rows failed, and remove the shards, to be asked for anew.

    What was bought stays in the cache, so that asking anew pays for the failures alone.

    Raises:
        RunError: with the reasons, and how often each.
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
        "see to the reasons, or raise that share, and run the same command: what was answered is kept"
    )


def failure_metrics(name: str, failures: Sequence[str]) -> dict[str, float]:
    """The number of failures as the metric `name`, and by reason as `name/reason`; an empty reason is no failure."""
    reasons = Counter(NO_NAME.sub("_", failure)[:LONGEST_NAME] for failure in failures if failure)
    return {
        name: float(reasons.total()),
        **{f"{name}/{reason}": float(count) for reason, count in sorted(reasons.items())},
    }


def heard_share(annotated: Sequence[Annotated]) -> float:
    """Of the responses' tokens, those of chunks to which the teacher replied: what a method's audits can train."""
    num_tokens = sum(len(item.trajectory.response_ids) for item in annotated)
    heard = [verdict for item in annotated for verdict in item.verdicts if verdict.replies]
    return min(1.0, sum(verdict.chunk_len for verdict in heard) / num_tokens) if num_tokens else 0.0
