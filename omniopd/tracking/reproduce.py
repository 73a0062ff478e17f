"""A run repeated from its record in MLflow, in a separate project, and compared digest by digest."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from omniopd.config import RunConfig, load_params, make_importable, method_class, single_run, with_paths
from omniopd.data.layout import Layout
from omniopd.data.receipts import work_key
from omniopd.data.store import read_json, write_atomic, write_json
from omniopd.errors import DataError, RunError
from omniopd.inputs.base import base
from omniopd.inputs.prepare import prepare
from omniopd.report.archive import Compared
from omniopd.tracking.lookup import Lookup, TrackedRun
from omniopd.tracking.origin import code_tags
from omniopd.training.checkpoints import weights_md5

_CODE = {
    "mlflow.source.git.commit": "commit",
    "omniopd.version": "omniopd",
    "omniopd.python": "Python",
    "omniopd.torch": "torch",
}


def code_differences(run: TrackedRun, root: Path) -> list[str]:
    """How the code here differs from the code of the run, a sentence for each difference."""
    present = code_tags(root)
    differences = [
        f"run {run.short_id} was made with {name} {run.tags[tag]}; here it is {present.get(tag, 'none')}"
        for tag, name in _CODE.items()
        if tag in run.tags and run.tags[tag] != present.get(tag)
    ]
    if run.tags.get("omniopd.git.changed") == "true":
        differences.append(
            f"run {run.short_id} was made with uncommitted changes: changes.patch in MLflow has them"
        )
    if present.get("omniopd.git.changed") == "true":
        differences.append("there are uncommitted changes here: `git status` shows them")
    return differences


def reproduce(run: TrackedRun, lookup: Lookup, root: Path, into: Path) -> list[Compared]:
    """Repeat the run in the folder `into`, resuming an earlier attempt there, and compare.

    root is the project that the run was made in: files that its settings name are read there.

    Raises:
        DataError: MLflow lacks config.json or has another than the run's, or `into` is taken.
        RunError: the run did not finish.
    """
    content = lookup.config(run)
    config = _settings_of(run, content, root)
    owner, params_file = into / "reproduces.json", into / "params.yaml"
    if owner.exists() and (other := read_json(owner, "run_id")["run_id"]) != run.run_id:
        raise DataError(f"{into}: run {other} is repeated here; give another folder with --into")
    if into.exists() and not owner.exists() and any(into.iterdir()):
        raise DataError(f"{into}: is not empty; give an empty folder with --into")
    write_json(owner, {"run_id": run.run_id})
    _write_params(config, params_file, root)
    params, layout = load_params(params_file), Layout(into)
    if not (layout.models(config.seed) / "models.json").exists():  # what `base` writes last
        prepare(params, config.seed, layout)
        base(params, config.seed, layout, on_step=lambda *_: None)
    _distill(config, params_file, root)
    return _compared(run, lookup, layout)


def check_same(run: TrackedRun, compared: Sequence[Compared], differences: Sequence[str]) -> None:
    """Check that everything recorded in MLflow was reproduced.

    Raises:
        RunError: a digest differs.
    """
    if other := next((kind for kind in compared if kind.num_same < kind.num_recorded), None):
        why = "; ".join(differences) or "another machine or number of threads rounds differently"
        raise RunError(f"{run} came out differently, first in its {other.what}: {other.first_other} ({why})")


def _settings_of(run: TrackedRun, content: dict[str, Any], root: Path) -> RunConfig:
    """The settings in config.json, checked against the run's tag."""
    make_importable(root)
    method = method_class(content["method"]).model_validate(content["settings"]["method"])
    config = RunConfig.model_validate({**content["settings"], "method": method})
    digest, recorded = work_key(config.determining()), run.tags.get("omniopd.settings")
    if digest != recorded:
        raise DataError(
            f"{run}: config.json in MLflow holds settings {digest}, but the run was made "
            f"with {recorded}: one of the two was changed since; take another run"
        )
    return config


def _write_params(config: RunConfig, path: Path, root: Path) -> None:
    """Write a params.yaml of this one run, with every setting."""
    settings = with_paths(config.model_dump(), lambda name: _reachable(name, root, path.parent))
    _reachable(".env", root, path.parent)
    if settings["teacher"]["kind"] == "api" and (root / settings["teacher"]["cache"]).exists():
        settings["teacher"]["offline"] = True
    settings["tracking"]["experiment"] += "-reproduced"
    params = single_run(config, settings)
    write_atomic(path, lambda partial: YAML().dump(params, partial))


def _reachable(name: str, root: Path, into: Path) -> str:
    """The path, relative to `into`, of a file that settings name relative to root: the same, as a link is made.

    A path that leads out of root becomes absolute. Others stay as they are, since they are compared with the settings.
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
            f"{params_file.parent}: the run ended with {done.returncode}; fix the error above, and run this command "
            "again: it resumes the run"
        )


def _compared(run: TrackedRun, lookup: Lookup, layout: Layout) -> list[Compared]:
    files = layout.run(run.arm, run.seed)
    inputs = {Path(file.label).name: file.digest for file in run.prompts}
    inputs |= {role: run.tags[f"omniopd.{role}"] for role in ("student", "teacher")}
    data = {file.name: file.digest for of_round in run.rounds.values() for file in of_round}
    made_data: dict[str, str] = {}
    for round_ in run.rounds:
        made_data |= read_json(files.manifest(round_), "files")["files"]
    weights = {f"checkpoints/round-{round_:04d}": md5 for round_, md5 in lookup.checkpoints(run).items()}
    made_weights = {name: weights_md5(files.root / name) for name in weights if (files.root / name).is_dir()}
    return [
        _compare("inputs", inputs, read_json(files.config, "inputs")["inputs"]),
        _compare("data", data, made_data),
        _compare("checkpoints", weights, made_weights),
    ]


def _compare(what: str, recorded: Mapping[str, str], made: Mapping[str, str]) -> Compared:
    others = [name for name in sorted(recorded) if made.get(name) != recorded[name]]
    return Compared(what, len(recorded) - len(others), len(recorded), others[0] if others else "")
