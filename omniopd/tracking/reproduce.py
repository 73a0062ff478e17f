"""A run made again from what MLflow recorded of it, in a project of its own, and compared digest by digest."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from omniopd.config import Benchmarks, Params, RunConfig, load_params, make_importable, method_class
from omniopd.data.layout import Layout
from omniopd.data.receipts import work_key
from omniopd.data.store import read_json, write_atomic, write_json
from omniopd.errors import DataError, RunError
from omniopd.inputs.base import base
from omniopd.inputs.prepare import prepare
from omniopd.report.archive import Compared
from omniopd.tracking import Lookup, TrackedRun
from omniopd.tracking.origin import code_tags
from omniopd.training.checkpoints import weights_md5

_CODE = {
    "mlflow.source.git.commit": "commit",
    "omniopd.version": "omniopd",
    "omniopd.python": "Python",
    "omniopd.torch": "torch",
}
_SHARED = [
    name for name in Params.model_fields if name in RunConfig.model_fields
]  # blocks that a run has as they are
# What may be named by a path from the folder of params.yaml.
_PATHS = (
    ("prompts", "source"),
    ("models", "student"),
    ("teacher", "model"),
    ("teacher", "cache"),
    ("method", "embedding_model"),
)


def code_differences(run: TrackedRun, root: Path) -> list[str]:
    """What of the code is other than it was for the run, a sentence each."""
    present = code_tags(root)
    found = [
        f"run {run.short_id} was made with {name} {run.tags[tag]}, and here is {present.get(tag, 'none')}"
        for tag, name in _CODE.items()
        if tag in run.tags and run.tags[tag] != present.get(tag)
    ]
    if run.tags.get("omniopd.git.changed") == "true":
        found.append(f"run {run.short_id} was made with a changed tree: its changes.patch is in MLflow")
    if present.get("omniopd.git.changed") == "true":
        found.append("the tree here is changed: `git status` shows how")
    return found


def reproduce(run: TrackedRun, lookup: Lookup, root: Path, into: Path) -> list[Compared]:
    """Make the run again in the folder `into`, going on where that stands, and compare.

    root is the project that the run was made in: files that its settings name are read there.

    Raises:
        DataError: MLflow has not what is needed, or its config.json is not that of the run; or `into` is taken.
        RunError: the run was not made to its end.
    """
    content = lookup.config(run)
    config = _settings_of(run, content, root)
    _claim(into, run)
    params_file = into / "params.yaml"
    _write_params(config, content["method"], params_file, root)
    params, layout = load_params(params_file), Layout(into)
    last_of_base = layout.models(config.seed) / "models.json"
    if not last_of_base.exists():
        prepare(params, config.seed, layout)
        base(params, config.seed, layout, on_step=lambda *_: None)
    _distill(config, params_file, root)
    return list(_compared(run, lookup, layout))


def check_same(run: TrackedRun, compared: Sequence[Compared], differences: Sequence[str]) -> None:
    """Pass where everything that MLflow recorded was made again.

    Raises:
        RunError: something was not.
    """
    others = [found for found in compared if found.num_same < found.num_recorded]
    if others:
        why = "; ".join(differences) or "another machine or number of threads rounds otherwise"
        raise RunError(
            f"run {run.short_id} ({run.name}) came out otherwise, first in its {others[0].what}: "
            f"{others[0].first_other} ({why})"
        )


def _settings_of(run: TrackedRun, content: dict[str, Any], root: Path) -> RunConfig:
    """The settings in config.json, where they are those that the run is tagged with."""
    make_importable(root)
    method = method_class(content["method"]).model_validate(content["settings"]["method"])
    config = RunConfig.model_validate({**content["settings"], "method": method})
    found, recorded = work_key(config.determining()), run.tags.get("omniopd.settings")
    if found != recorded:
        raise DataError(
            f"run {run.short_id} ({run.name}): config.json in MLflow holds settings {found}, and the run was made "
            f"with {recorded}: one of the two was changed since; take another run"
        )
    return config


def _claim(into: Path, run: TrackedRun) -> None:
    """Let the folder be that of this run, unless it is another's."""
    owner = into / "reproduces.json"
    if owner.exists() and (found := read_json(owner, "run_id")["run_id"]) != run.run_id:
        raise DataError(f"{into}: run {found} is made again here; give another folder with --into")
    if into.exists() and not owner.exists() and any(into.iterdir()):
        raise DataError(f"{into}: holds something else; give an empty folder with --into")
    write_json(owner, {"run_id": run.run_id})


def _write_params(config: RunConfig, method: str, path: Path, root: Path) -> None:
    """One arm, with everything written out."""
    settings = config.resolved()
    for block, key in _PATHS:
        if settings[block].get(key):
            settings[block][key] = _reachable(settings[block][key], root, path.parent)
    for item in (settings["prompts"]["decontaminate"] or {"against": []})["against"]:
        item["source"] = _reachable(item["source"], root, path.parent)
    _reachable(".env", root, path.parent)
    if settings["teacher"]["kind"] == "api" and (root / settings["teacher"]["cache"]).exists():
        settings["teacher"]["offline"] = True
    settings["tracking"]["experiment"] += "-reproduced"
    params = {
        "seeds": [config.seed],
        **{name: settings[name] for name in _SHARED},
        "benchmarks": {**dict.fromkeys(Benchmarks.model_fields), "suite": [], "files": {}},
        "methods": {},
        "sweep": {"seeds": [config.seed + 1], "lrs": [config.train.lr]},
        "comparison": {"against": None},
        "arms": {config.arm: {"method": method, "settings": settings["method"]}},
        "ablations": {},
        "ablation_seeds": [],
    }
    write_atomic(path, lambda partial: YAML().dump(params, partial))


def _reachable(name: str, root: Path, into: Path) -> str:
    """The name by which the folder `into` finds what root finds: the same, behind a link, unless that led out of it.

    A name is part of the settings, and of what is compared; so it stays as it is where it can.
    """
    target, link = (root / name).absolute(), into / name
    if Path(name).is_absolute() or not target.exists():
        return name
    if ".." in Path(name).parts:
        return str(target)
    if not link.is_symlink():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
    return name


def _distill(config: RunConfig, params_file: Path, root: Path) -> None:
    path = os.pathsep.join(filter(None, [str(root.resolve()), os.environ.get("PYTHONPATH")]))
    arguments = ["--arm", config.arm, "--seed", str(config.seed), "--params", str(params_file)]
    done = subprocess.run(
        [sys.executable, "-m", "flows", "distill", *arguments],
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    if done.returncode != 0:
        raise RunError(
            f"{params_file.parent}: the run ended with {done.returncode}, as said above; fix that, and call this "
            "again: it goes on where it was"
        )


def _compared(run: TrackedRun, lookup: Lookup, layout: Layout) -> Iterator[Compared]:
    files = layout.run(run.arm, run.seed)
    inputs = {file.label.rpartition("/")[2]: file.digest for file in run.prompts}
    inputs |= {role: run.tags[f"omniopd.{role}"] for role in ("student", "teacher")}
    yield _compare("inputs", inputs, read_json(files.config, "inputs")["inputs"])
    made: dict[str, str] = {}
    for round_ in run.rounds:
        made |= read_json(files.manifest(round_), "files")["files"]
    yield _compare("data", {file.name: file.digest for own in run.rounds.values() for file in own}, made)
    recorded = {f"checkpoints/round-{round_:04d}": md5 for round_, md5 in lookup.checkpoints(run).items()}
    weights = {name: weights_md5(files.root / name) for name in recorded if (files.root / name).is_dir()}
    yield _compare("checkpoints", recorded, weights)


def _compare(what: str, recorded: Mapping[str, str], made: Mapping[str, str]) -> Compared:
    others = [name for name in sorted(recorded) if made.get(name) != recorded[name]]
    return Compared(what, len(recorded) - len(others), len(recorded), others[0] if others else "")
