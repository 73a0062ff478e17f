"""Tiny projects: the real params.yaml with everything made small."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from ruamel.yaml import YAML

if TYPE_CHECKING:
    import pytest

REPOSITORY = Path(__file__).parent.parent

TINY: dict[str, Any] = {
    "prompts.columns": {"prompt": "prompt", "answer": "answer", "id": "id", "tests": "tests"},
    "prompts.num_train": 40,
    "prompts.num_validation": 6,
    "prompts.num_heldout": 12,
    "models.demo.start.lowest": 0.0,
    "models.demo.start.highest": 1.0,
    "models.demo.student.width": 16,
    "models.demo.student.ffn_width": 32,
    "models.demo.student.num_layers": 1,
    "models.demo.student.num_heads": 2,
    "models.demo.student.num_steps": 60,
    "models.demo.student.num_examples": 64,
    "models.demo.teacher.width": 16,
    "models.demo.teacher.ffn_width": 32,
    "models.demo.teacher.num_layers": 1,
    "models.demo.teacher.num_heads": 2,
    "models.demo.teacher.num_steps": 60,
    "models.demo.teacher.batch_size": 32,
    "models.demo.teacher.num_examples": 200,
    "teacher.batch_size": 5,
    "rollout.num_prompts": 12,
    "rollout.batch_size": 4,
    "train.num_rounds": 5,
    "train.lr": 2e-4,
    "train.batch_size": 8,
    "train.checkpoint_every": 2,
    "train.validate_every": 2,
    "train.warmup_rounds": 2,
    "evaluation.batch_size": 6,
    "compute.num_threads": 1,
    "tracking.enabled": False,
    "sweep.lrs": [0.001, 0.002],
    "comparison.against": None,
    "arms": {
        "omniopd": {"method": "omniopd", "train": {"lr": 2e-4}},
        "omniopd-baseline": {"method": "omniopd", "settings": {"baseline": "batch"}, "train": {"lr": 5e-4}},
    },
    "ablations": {},
    "seeds": [0],
}


@dataclass(frozen=True)
class Project:
    """A folder with a params.yaml."""

    root: Path

    @property
    def params_file(self) -> Path:
        return self.root / "params.yaml"

    def edit(self, **settings: Any) -> "Project":
        """Change settings by their dotted path, with __ for the dot."""
        return self.edit_paths({name.replace("__", "."): value for name, value in settings.items()})

    def edit_paths(self, settings: dict[str, Any]) -> "Project":
        yaml = YAML()
        params = yaml.load(self.params_file.read_text())
        for path, value in settings.items():
            *parents, name = path.split(".")
            block = params
            for parent in parents:
                block = block.setdefault(parent, {})
            block[name] = value
        with self.params_file.open("w") as file:
            yaml.dump(params, file)
        return self

    def make_base(self, seed: int = 0) -> None:
        from omniopd.config import load_params
        from omniopd.data.layout import Layout
        from omniopd.inputs.base import base
        from omniopd.inputs.prepare import prepare

        params, layout = load_params(self.params_file), Layout(self.root)
        prepare(params, seed, layout)
        base(params, seed, layout, on_step=lambda role, step, total: None)  # noqa: ARG005

    def copied_to(self, root: Path) -> "Project":
        shutil.copytree(self.root, root)
        return Project(root)

    def run_dir(self, arm: str = "omniopd", seed: int = 0) -> Path:
        return self.root / "runs" / f"{arm}-{seed}"


def make_project(root: Path) -> Project:
    """The repository's params.yaml, made tiny, in a folder of its own."""
    root.mkdir(parents=True, exist_ok=True)
    shutil.copy(REPOSITORY / "params.yaml", root / "params.yaml")
    return Project(root).edit_paths(TINY)


def made_once(tmp_path_factory: "pytest.TempPathFactory", name: str, make: Callable[[Path], None]) -> Path:
    """A folder that is made once per test run, by whichever of the workers asks first."""
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent  # of all workers
    folder = shared / name
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            make(shared / f"{name}.partial")
            (shared / f"{name}.partial").rename(folder)
    return folder


@contextmanager
def without_prefect():
    """The flow's tasks as the plain functions that they decorate: the results must be the same."""
    from prefect import Task

    from flows import tasks

    plain = {name: value.fn for name, value in vars(tasks).items() if isinstance(value, Task)}
    with mock.patch.multiple(tasks, **plain):
        yield


def run_plain(params_file: Path, arm: str = "omniopd", seed: int = 0) -> Path:
    """The distill flow's own loop, without Prefect."""
    from flows.distill import distill

    with without_prefect():
        return distill.fn(arm=arm, seed=seed, params_file=params_file)


def digests(run_dir: Path) -> dict[str, str]:
    """md5 of every result of a run by relative path: all but logs and timings, which are never the same twice."""
    return {
        path.relative_to(run_dir).as_posix(): hashlib.md5(path.read_bytes()).hexdigest()
        for path in sorted(run_dir.rglob("*"))
        if path.is_file() and path.name not in ("run.log", "timings.jsonl") and "work" not in path.parts
    }
