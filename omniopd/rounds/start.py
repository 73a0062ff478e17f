"""The directory of a run: created or reused; a run of other settings or inputs is moved aside."""

from collections.abc import Callable, Mapping
from itertools import chain, count
from pathlib import Path
from typing import Any

from omniopd import RESULTS_VERSION
from omniopd.config import Params, RunConfig, resolve
from omniopd.data.layout import Layout
from omniopd.data.lock import without_readers
from omniopd.data.receipts import work_key
from omniopd.data.store import file_md5, read_json, write_json
from omniopd.errors import DataError, RunError
from omniopd.rounds.sweep import chosen_rate

READERS_S = 30.0  # to wait for readers of the run that is replaced


def start_run(
    params: Params, arm: str, seed: int, layout: Layout, *, swept_lr: float | None = None, variant: str = "",
    warn: Callable[[str], None] = lambda _: None,
) -> Path:  # fmt: skip
    """The run directory of (arm, seed), of one learning rate of its sweep, or of a variant; created if missing.

    A directory with a run of other settings or inputs is renamed to NAME.replaced-KEY, never overwritten; warn is
    called with a sentence that says so.
    """
    if swept_lr is None:
        files = layout.run(arm, seed, variant)
        config = resolve(params, arm, seed, lr=chosen_rate(params, arm, layout))
    else:
        files = layout.sweep_run(arm, seed, swept_lr)
        config = _in_sweep(resolve(params, arm, seed, lr=swept_lr))
    inputs = _input_digests(config, layout)
    key = work_key(config.determining(), inputs, RESULTS_VERSION)
    earlier = _earlier(files.config)
    if earlier is not None and earlier["key"] != key:
        aside = _move_aside(files.root, str(earlier["key"]))
        warn(
            f"{files.root}: {_changed(earlier, inputs)} changed since this run was started, so it starts again; the "
            f"earlier run is kept as {aside.name}"
        )
    for folder in (files.root, *files.datasets):
        folder.mkdir(parents=True, exist_ok=True)
    content = {"key": key, "inputs": inputs, "method": config.method_name, "settings": config.model_dump()}
    if not files.config.exists() or read_json(files.config) != content:
        write_json(files.config, content)
    return files.root


def _move_aside(run_dir: Path, key: str) -> Path:
    base = f"{run_dir.name}.replaced-{key}"
    names = chain([base], (f"{base}-{n}" for n in count(2)))
    aside = next(path for name in names if not (path := run_dir.with_name(name)).exists())
    with without_readers(run_dir, within_s=READERS_S) as is_locked:
        if not is_locked:
            raise RunError(
                f"{run_dir}: is being read (`omniopd evaluate` or `omniopd report`), and a run of other settings or "
                "inputs would replace it; wait for that to end, then run the same command"
            )
        run_dir.rename(aside)
    return aside


def _changed(earlier: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """Which inputs differ from those of an earlier run, else its settings or version."""
    before = earlier.get("inputs")
    before = before if isinstance(before, Mapping) else {}
    names = {"train": "the training prompts", "validation": "the validation prompts"}
    differing = [names.get(name, f"the {name}") for name in inputs if before.get(name) != inputs[name]]
    return " and ".join(differing) or "the settings or the version of omniopd"


def _in_sweep(config: RunConfig) -> RunConfig:
    """The same, tracked in a separate experiment: a sweep's runs are no arms of the comparison."""
    experiment = f"{config.tracking.experiment}-sweep"
    return config.model_copy(
        update={"tracking": config.tracking.model_copy(update={"experiment": experiment})}
    )


def _input_digests(config: RunConfig, layout: Layout) -> dict[str, str]:
    splits = {}
    for split in ("train", "validation"):
        path = layout.prompts(config.seed, split)
        if not path.is_file():
            raise DataError(f"{path}: no such file; run `omniopd prepare` first (`dvc repro` does)")
        splits[split] = file_md5(path)
    models = read_json(
        layout.models(config.seed) / "models.json",
        "student",
        "teacher",
        made_by=f"omniopd base --seed {config.seed}",
    )
    return splits | {role: models[role]["digest"] for role in ("student", "teacher")}


def _earlier(config: Path) -> dict[str, Any] | None:
    try:
        return read_json(config, "key")
    except DataError:
        return None
