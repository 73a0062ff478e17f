"""The data that a run was trained on, found by the digests that MLflow recorded, wherever it lies by now."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omniopd.data.layout import Layout
from omniopd.data.store import file_md5
from omniopd.errors import DataError
from omniopd.tracking import DataFile, TrackedRun
from omniopd.versions import Place, Store


@dataclass(frozen=True)
class Located:
    """A file that a round was trained on, and where it can be had; place is None where it is nowhere."""

    round: int
    file: DataFile
    place: Place | None


def locate(run: TrackedRun, layout: Layout, store: Store, *, round_: int | None = None) -> list[Located]:
    """Where each file of the run, or of one of its rounds, can be had: its folder, or else DVC.

    Raises:
        DataError: MLflow knows of no such round.
    """
    if round_ is not None and round_ not in run.rounds:
        known = f"those from {min(run.rounds)} to {max(run.rounds)}" if run.rounds else "none"
        raise DataError(
            f"run {run.short_id} ({run.name}): MLflow knows of no round {round_}, and of {known}; take one of those"
        )
    rounds = run.rounds if round_ is None else {round_: run.rounds[round_]}
    files = [(number, file) for number, own in rounds.items() for file in own]
    here = {file.digest: place for _, file in files if (place := _in_workspace(run, file, layout))}
    stored = store.find(file.digest for _, file in files if file.digest not in here)
    places = here | stored
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
        raise DataError(f"run {run.short_id} ({run.name}): MLflow knows of no round of it; take another run")
    missing = [found for found in located if found.place is None]
    if missing:
        raise DataError(_how_to_get(run, missing, located, store))
    for found in located:
        assert found.place is not None
        store.copy(found.file.digest, found.place, into / found.file.name)
    return located


def as_json(run: TrackedRun, located: Sequence[Located] | None = None) -> dict[str, Any]:
    """A run, and its files where they were looked for, for programs."""
    about = {
        "run_id": run.run_id,
        "name": run.name,
        "arm": run.arm,
        "seed": run.seed,
        "status": run.status,
        "begun": run.begun,
        "num_rounds": len(run.rounds),
    }
    if located is None:
        return about
    return about | {
        "files": [
            {"round": found.round, **asdict(found.file), "place": found.place and asdict(found.place)}
            for found in located
        ]
    }


def _in_workspace(run: TrackedRun, file: DataFile, layout: Layout) -> Place | None:
    for path in _candidates(run, file, layout):
        with suppress(OSError):  # replaced while it was read
            if path.is_file() and file_md5(path) == file.digest:
                return Place("workspace", str(path))
    return None


def _candidates(run: TrackedRun, file: DataFile, layout: Layout) -> Iterator[Path]:
    return (folder / file.name for folder in layout.folders_of(run.name))


def _how_to_get(run: TrackedRun, missing: Sequence[Located], located: Sequence[Located], store: Store) -> str:
    first = missing[0].file
    silent = "".join(f"; remote {name} could not be read: {why}" for name, why in store.problems.items())
    return (
        f"run {run.short_id} ({run.name}): {len(missing)} of {len(located)} files are nowhere, the first "
        f"{first.name} (md5 {first.digest}): neither below runs/ nor in DVC's cache or a remote{silent}; "
        f"`dvc push` where the run was made, or make it again: omniopd reproduce {run.short_id}"
    )
