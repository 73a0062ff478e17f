"""The data that a run was trained on, located by the digests that MLflow recorded."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omniopd.data.layout import Layout
from omniopd.data.store import file_md5
from omniopd.errors import DataError
from omniopd.tracking.lookup import TrackedRun
from omniopd.tracking.records import DataFile
from omniopd.versions import Place, Store


@dataclass(frozen=True)
class Located:
    """A file that a round was trained on, and where it is now; place is None where it is nowhere."""

    round: int
    file: DataFile
    place: Place | None


def locate(run: TrackedRun, layout: Layout, store: Store, *, round_: int | None = None) -> list[Located]:
    """Where each file of the run, or of one of its rounds, is: in a folder of the run, or else in DVC.

    Raises:
        DataError: MLflow has no such round.
    """
    if round_ is not None and round_ not in run.rounds:
        known = "none; take another run"
        if run.rounds:
            known = f"rounds {min(run.rounds)} to {max(run.rounds)}; take one of those"
        raise DataError(f"{run}: MLflow has no round {round_}; it has {known}")
    rounds = run.rounds if round_ is None else {round_: run.rounds[round_]}
    files = [(number, file) for number, of_round in rounds.items() for file in of_round]
    places = {file.digest: place for _, file in files if (place := _in_workspace(run, file, layout))}
    places |= store.find(file.digest for _, file in files if file.digest not in places)
    return [Located(number, file, places.get(file.digest)) for number, file in files]


def checkout(
    run: TrackedRun, layout: Layout, store: Store, into: Path, *, round_: int | None = None
) -> list[Located]:
    """Write the files of the run, or of one of its rounds, below `into`, each whole and of the right md5.

    Raises:
        DataError: one of them is nowhere; nothing is written then.
    """
    located = locate(run, layout, store, round_=round_)
    if not located:
        raise DataError(f"{run}: MLflow has no round of it; take another run")
    if missing := [entry.file for entry in located if entry.place is None]:
        unread = "".join(f"; remote {name} could not be read: {why}" for name, why in store.problems.items())
        raise DataError(
            f"{run}: {len(missing)} of {len(located)} files are missing, the first "
            f"{missing[0].name} (md5 {missing[0].digest}): neither below runs/ nor in DVC's cache or a remote{unread}; "
            f"`dvc push` where the run was made, or repeat the run: omniopd reproduce {run.short_id}"
        )
    for entry in located:
        assert entry.place is not None
        store.copy(entry.file.digest, entry.place, into / entry.file.name)
    return located


def as_json(run: TrackedRun, located: Sequence[Located] | None = None) -> dict[str, Any]:
    """A run for programs, with its files where they were located."""
    record = {
        "run_id": run.run_id,
        "name": run.name,
        "arm": run.arm,
        "seed": run.seed,
        "status": run.status,
        "begun": run.begun,
        "num_rounds": len(run.rounds),
    }
    if located is not None:
        record["files"] = [
            {"round": entry.round, **asdict(entry.file), "place": entry.place and asdict(entry.place)}
            for entry in located
        ]
    return record


def _in_workspace(run: TrackedRun, file: DataFile, layout: Layout) -> Place | None:
    for folder in layout.folders_of(run.name):
        path = folder / file.name
        with suppress(OSError):  # replaced while it was read
            if path.is_file() and file_md5(path) == file.digest:
                return Place("workspace", str(path))
    return None
