"""export: a run as a folder with its model, and one with its data; each is there as a whole or not at all."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from omniopd.config import yaml_text
from omniopd.data.receipts import valid_receipt, work_key, write_receipt
from omniopd.data.store import read_json, write_dir_atomic
from omniopd.errors import DataError
from omniopd.export.checkpoints import Wanted, chosen_round
from omniopd.export.dataset import data_card, write_tables
from omniopd.export.licences import licence_files
from omniopd.export.model_card import model_card
from omniopd.export.origin import origin_of
from omniopd.export.results import evaluations
from omniopd.export.selection import Selection
from omniopd.export.weights import write_model
from omniopd.models.loading import dtype_of
from omniopd.redaction import protect_environment, redacted
from omniopd.rounds.reading import reading
from omniopd.rounds.run import Run

RECEIPT = "export.json"  # what an export wrote; only such a folder is written again
CARD, PARAMS = "README.md", "omniopd.yaml"
DATA_SUFFIX = "-data"  # of the folder, and of the name on the hub


@dataclass(frozen=True)
class Exported:
    """The folders of an export, and its checkpoint.

    >>> Exported(Path("exports/sft-0"), None, 20, 30).round
    20
    """

    model: Path
    data: Path | None
    round: int  # the number of rounds that trained the checkpoint
    num_rounds: int


def export_run(
    run_dir: Path,
    out: Path | None = None,
    *,
    wanted: Wanted = "last",
    merge: bool = False,
    with_data: bool = False,
    repo: str = "",
    warn: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Write the model of a run, and with_data its tables, as folders with cards.

    Args:
        run_dir: The run, finished or not.
        out: The folder of the model (default: exports/RUN); that of the data has the suffix -data.
        wanted: The checkpoint: a number of rounds, the last, or the best on validation prompts.
        merge: Merge a LoRA adapter into its base; without effect on a run that trains all weights.
        with_data: Write the data too.
        repo: The name on the hub that the cards give, owner/name; else they give the folder's.
        warn: Called where MLflow does not answer.

    Raises:
        RunError: the run has no such checkpoint, or was replaced while it was read.
        DataError: a folder holds files that no export wrote.
        ModelError: the original model cannot be loaded, or an adapter cannot be merged.
    """
    protect_environment()
    with reading(run_dir) as run:
        model = out or run.layout.export(run_dir.name)
        data = model.with_name(f"{model.name}{DATA_SUFFIX}") if with_data else None
        for folder in filter(None, (model, data)):
            _check_free(folder)
        round_ = chosen_round(run, wanted)
        chosen = Selection(run, round_, repo or model.name, merged=merge)
        _write_model(model, chosen, warn, datasets=[f"{repo}{DATA_SUFFIX}"] if repo and with_data else [])
        if data is not None:
            _write_data(data, chosen)
        return Exported(model, data, round_, run.config.train.num_rounds)


def _write_model(
    folder: Path, chosen: Selection, warn: Callable[[str], None], *, datasets: list[str]
) -> None:
    run, student = chosen.run, chosen.run.model_path("student")
    records = evaluations(run)
    dtype = str(dtype_of(student)).removeprefix(f"{torch.__name__}.")
    card = model_card(chosen, origin=origin_of(run, warn), records=records, dtype=dtype, datasets=datasets)
    comment = f"# omniopd distill --params {PARAMS} --arm {run.config.arm} --seed {run.config.seed}\n"

    def fill(partial: Path) -> None:
        write_model(
            partial, run, run.files.checkpoint(chosen.round), merge=chosen.merged, base=chosen.student
        )
        for file in licence_files(student):
            shutil.copyfile(file, partial / file.name)
        (partial / CARD).write_text(card, encoding="utf-8")
        (partial / PARAMS).write_text(comment + redacted(yaml_text(chosen.params())), encoding="utf-8")
        _sign(partial, run, chosen.round)

    write_dir_atomic(folder, fill)


def _write_data(folder: Path, chosen: Selection) -> None:
    title = f"{chosen.title}{DATA_SUFFIX}"

    def fill(partial: Path) -> None:
        tables = write_tables(partial, chosen)
        (partial / CARD).write_text(data_card(chosen, tables, title=title), encoding="utf-8")
        _sign(partial, chosen.run, chosen.round)

    write_dir_atomic(folder, fill)


def _sign(folder: Path, run: Run, round_: int) -> None:
    """Record all files of a folder, so that the next export can tell whether someone has changed it."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    for file in files:
        file.chmod((folder / CARD).stat().st_mode)  # weights are saved for their owner alone
    write_receipt(folder / RECEIPT, key=work_key(run.key, "export", round_), files=files, base=folder)


def _check_free(folder: Path) -> None:
    """Raise where a folder holds anything but what an export wrote.

    Raises:
        DataError: naming a file.
    """
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    if not files:
        return
    if (folder / RECEIPT).is_file():
        content = read_json(folder / RECEIPT, "key", "files")
        strangers = sorted(files - content["files"].keys() - {RECEIPT})
        if not strangers and valid_receipt(folder / RECEIPT, key=content["key"], base=folder) is not None:
            return
        reason = (
            f"holds {strangers[0]}, which no export wrote" if strangers else "was changed after its export"
        )
    else:
        reason = f"is not empty, and no export wrote it (it holds {min(files)})"
    raise DataError(f"{folder}: {reason}; move it away, or give another folder with --out")
