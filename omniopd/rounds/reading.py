"""Reading a run while nothing replaces it; a replacement by DVC is detected and reported."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from omniopd.data.lock import holder, is_taken, kept_in_place
from omniopd.data.store import read_json
from omniopd.errors import DataError, RunError
from omniopd.rounds.run import Run, open_run
from omniopd.training.checkpoints import weights_md5

Identity = tuple[str | None, str | None]
WAIT_S = 5.0  # for a writer that may be about to end


@contextmanager
def reading(run_dir: Path, *, still: bool = False) -> Iterator[Run]:
    """The run in that folder, which no other run can replace during the block.

    still: refuse a run that is being written to, for readers that need all files of one result.

    Raises:
        RunError: it is being written to, or was replaced while it was read, as by `dvc checkout`.
    """
    run = open_run(run_dir)
    if still and is_taken(run.files.lock, within_s=WAIT_S):
        raise RunError(f"{run_dir}: is being written by {holder(run.files.lock)}; wait for it or stop it")
    with kept_in_place(run_dir, within_s=WAIT_S) as is_held:
        if not is_held:
            raise RunError(f"{run_dir}: is being replaced by another run; run the same command again")
        before = _identity(run)
        try:
            yield run
        except Exception as error:
            if _is_gone(error, run_dir) or _has_changed(run, before):
                raise RunError(_replaced(run_dir)) from error
            raise
        if still and _has_changed(run, before):
            raise RunError(_replaced(run_dir))


def _is_gone(error: Exception, run_dir: Path) -> bool:
    """Whether the error is a missing file of the run."""
    missing = isinstance(error, FileNotFoundError) and error.filename
    return bool(missing) and Path(str(missing)).absolute().is_relative_to(run_dir.absolute())


def _has_changed(run: Run, before: Identity) -> bool:
    """Whether the folder has another run or other weights; weights that are new belong to a run that just ended."""
    key, weights = _identity(run)
    return key != before[0] or (before[1] is not None and weights != before[1])


def _identity(run: Run) -> Identity:
    """The run's key and the digest of its last weights; None for what cannot be read."""
    return _or_none(lambda: read_json(run.files.config)["key"]), _or_none(
        lambda: weights_md5(run.files.checkpoint(run.config.train.num_rounds))
    )


def _or_none(read: Callable[[], str]) -> str | None:
    try:
        return read()
    except (DataError, OSError, KeyError, TypeError, ValueError):
        return None


def _replaced(run_dir: Path) -> str:
    return (
        f"{run_dir}: was changed while it was read, for example by DVC; run the same command again afterwards"
    )
