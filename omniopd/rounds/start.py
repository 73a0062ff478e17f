"""The directory of a run: made for its settings and inputs, or found; one of other settings is set aside."""

from itertools import count
from pathlib import Path

from omniopd import __version__
from omniopd.config import Params, RunConfig, resolve
from omniopd.data.layout import Layout
from omniopd.data.lock import without_readers
from omniopd.data.receipts import work_key
from omniopd.data.store import file_md5, read_json, write_json
from omniopd.errors import DataError, RunError
from omniopd.rounds.sweep import chosen_rate

READERS_S = 30.0  # that a run waits for those who read the one that it replaces


def start_run(
    params: Params, arm: str, seed: int, layout: Layout, *, swept_lr: float | None = None, variant: str = ""
) -> Path:
    """Make or find the run directory of (arm, seed), of one learning rate of its sweep, or of a variant; return it.

    A directory that holds a run of other settings or inputs is set aside, beside it, never overwritten.
    """
    if swept_lr is None:
        files = layout.run(arm, seed, variant)
        config = resolve(params, arm, seed, lr=chosen_rate(params, arm, layout))
    else:
        files = layout.sweep_run(arm, seed, swept_lr)
        config = _in_sweep(resolve(params, arm, seed, lr=swept_lr))
    inputs = _input_digests(config, layout)
    key = work_key(config.determining(), inputs, __version__)
    found = _key_in(files.config)
    if found is not None and found != key:
        aside = files.root.with_name(f"{files.root.name}.replaced-{found}")
        for n in count(2):
            if not aside.exists():
                break
            aside = files.root.with_name(f"{files.root.name}.replaced-{found}-{n}")
        with without_readers(files.root, within_s=READERS_S) as is_held:
            if not is_held:
                raise RunError(
                    f"{files.root}: is being read (`omniopd evaluate` or `omniopd report`), and would be replaced by "
                    "a run of other settings or inputs; wait for that to end, then run the same command"
                )
            files.root.rename(aside)
    for folder in (files.root, *files.datasets):
        folder.mkdir(parents=True, exist_ok=True)
    content = {"key": key, "inputs": inputs, "method": config.method_name, "settings": config.resolved()}
    if not files.config.exists() or read_json(files.config) != content:
        write_json(files.config, content)
    return files.root


def _in_sweep(config: RunConfig) -> RunConfig:
    """The same, tracked in an experiment of its own: what a sweep tries is no arm of the comparison."""
    experiment = f"{config.tracking.experiment}-sweep"
    return config.model_copy(
        update={"tracking": config.tracking.model_copy(update={"experiment": experiment})}
    )


def _input_digests(config: RunConfig, layout: Layout) -> dict[str, str]:
    splits = {split: _made_md5(layout.prompts(config.seed, split)) for split in ("train", "validation")}
    models = read_json(
        layout.models(config.seed) / "models.json",
        "student",
        "teacher",
        made_by=f"omniopd base --seed {config.seed}",
    )
    return splits | {role: models[role]["digest"] for role in ("student", "teacher")}


def _made_md5(path: Path) -> str:
    """md5 of a file that an earlier stage made."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; run `omniopd prepare` first (dvc repro does)")
    return file_md5(path)


def _key_in(config: Path) -> str | None:
    try:
        return str(read_json(config, "key")["key"])
    except DataError:
        return None
