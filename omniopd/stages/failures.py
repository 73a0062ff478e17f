"""What the teacher failed to answer: counted, and too much for a round to go on with, or not."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from omniopd.data.records import Trajectory, Verdict
from omniopd.errors import RunError


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


def failure_metrics(failures: Sequence[str]) -> dict[str, float]:
    """The number of requests that failed, in all and by reason; no reason is no failure."""
    reasons = Counter(failure for failure in failures if failure)
    return {
        "teacher_failures": float(reasons.total()),
        **{f"teacher_failures/{reason}": float(count) for reason, count in sorted(reasons.items())},
    }
