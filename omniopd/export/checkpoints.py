"""Which checkpoint of a run is exported."""

from collections.abc import Sequence
from typing import Literal

from omniopd.data.metrics import ACCURACY
from omniopd.errors import RunError
from omniopd.rounds.ledger import due_checkpoints, recorded_metrics
from omniopd.rounds.run import Run

Wanted = int | Literal["best", "last"]


def chosen_round(run: Run, wanted: Wanted) -> int:
    """The round before which the checkpoint was saved: the number of rounds that trained it.

    `best` is the checkpoint of highest greedy accuracy on the validation prompts, of equal ones the latest.

    Raises:
        RunError: the run has no such checkpoint.
    """
    due = due_checkpoints(run.config.train)
    round_ = next((r for r in _candidates(run, wanted, due) if run.has_checkpoint(r)), None)
    if round_ is None:
        raise RunError(_missing(run, wanted, due))
    return round_


def _candidates(run: Run, wanted: Wanted, due: Sequence[int]) -> list[int]:
    if wanted == "last":
        return sorted(due, reverse=True)
    if wanted != "best":
        return [wanted] if wanted in due else []
    metrics = recorded_metrics(run.files.root)
    accuracies = {round(row["round"]): row[ACCURACY] for row in metrics if ACCURACY in row}
    measured = [r for r in due if r in accuracies]
    return sorted(measured, key=lambda r: (accuracies[r], r), reverse=True)


def _missing(run: Run, wanted: Wanted, due: Sequence[int]) -> str:
    kept = [r for r in due if run.files.checkpoint(r).is_dir()]
    arm, seed = run.config.arm, run.config.seed
    name = f"checkpoint of round {wanted}" if isinstance(wanted, int) else "checkpoint"
    if wanted == "best":
        name += " whose accuracy was measured on validation prompts"
    if not kept:
        return (
            f"{run.files.root}: has no {name}; the first is written after {due[0]} rounds: "
            f"omniopd distill --arm {arm} --seed {seed}"
        )
    if kept != [wanted] and (not isinstance(wanted, int) or wanted not in kept):
        return f"{run.files.root}: has no {name}; --round takes one of {', '.join(map(str, kept))}"
    return (
        f"{run.files.root}: its {name} is damaged, or of another run; restore it with dvc checkout, or name another "
        "with --round"
    )
