"""resolved/: the settings that decide the outputs of each stage of dvc.yaml, one small file per stage.

DVC compares files, so a stage runs again only when a setting that its outputs depend on has changed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omniopd.config import DEMO, Params, builtin_task, load_params, resolve
from omniopd.config.benchmarks import digests_of_files
from omniopd.data.layout import Layout
from omniopd.data.store import write_json
from omniopd.errors import ConfigError
from omniopd.grading.graders import grader_of
from omniopd.versions import commit, is_recorded_here


def record(params: Params, layout: Layout, stages: Sequence[str]) -> str | None:
    """Have DVC record the outputs of stages that it did not run. Returns a sentence if they are not recorded.

    DVC would record them as outputs of the current params.yaml, so they are not recorded if its settings differ.
    """
    if not is_recorded_here(layout.root):
        return None
    path = layout.root / "params.yaml"
    try:
        current = load_params(path)
    except ConfigError as error:
        return f"DVC did not record {', '.join(stages)} ({error})"
    used, wanted = stage_settings(params, layout.root), stage_settings(current, layout.root)
    if any(used.get(name) != wanted.get(name) for name in map(_file_of, stages)):
        return f"DVC did not record {', '.join(stages)}: {path} has changed since; `dvc repro` runs what it asks for"
    write_resolved(current, layout)
    return commit(layout.root, ["resolve", *stages])


def _file_of(stage: str) -> str:
    """The name in resolved/ of the settings of a stage in dvc.yaml.

    >>> _file_of("ablate@fork-random-0"), _file_of("evaluate-ablation@fork-random-0"), _file_of("prepare@0")
    ('distill-fork-random-0', 'evaluate', 'prepare')
    """
    kind, _, run = stage.partition("@")
    return f"distill-{run}" if kind in ("distill", "ablate") else kind.partition("-")[0]


def write_resolved(params: Params, layout: Layout) -> None:
    """Write resolved/, and remove the files of runs that are no longer in params."""
    wanted = stage_settings(params, layout.root)
    for stale in layout.resolved.glob("*.json"):
        if stale.stem not in wanted:
            stale.unlink()
    for name, settings in wanted.items():
        write_json(layout.resolved / f"{name}.json", settings)


def stage_settings(params: Params, root: Path) -> dict[str, dict[str, Any]]:
    """The settings that decide the outputs of each stage: of `prepare`, `base`, …, `distill-ARM-SEED`, and so on.

    `root` is the folder that paths are relative to.
    """
    return {
        "prepare": prompt_settings(params),
        "base": model_settings(params),
        "rates": {
            "lr_of": {name: arm.lr_of for name, arm in params.every_arm.items()},
            "sweep": params.sweep.determining(),
        },
        "evaluate": evaluate_settings(params, root),
        "compare": {
            "runs": params.runs,
            "arms": list(params.arms),
            "against": params.comparison.against,
        },
        **{f"distill-{arm}-{seed}": run_settings(params, arm, seed) for arm, seed in params.runs},
        **{
            f"sweep-{arm}-{seed}": run_settings(params, arm, seed) | {"lrs": params.sweep.lrs}
            for arm in params.arms
            for seed in params.sweep.seeds
        },
    }


def prompt_settings(params: Params) -> dict[str, Any]:
    """The settings that decide the prompts of a seed, besides the files of the source."""
    settings: dict[str, Any] = {"prompts": params.prompts.determining()}
    if params.hint_columns:
        settings["hint_columns"] = params.hint_columns
    if builtin_task(params) is not None:
        demo = params.models.demo
        settings["num_examples"] = [demo.student.num_examples, demo.teacher.num_examples]
        return settings
    settings["measured_by"] = grader_of(params.evaluation).needs
    if params.prompts.max_prompt_tokens:
        settings["student"] = params.models.student  # whose tokenizer counts, within its chat template
        if kwargs := params.models.chat_template_kwargs:
            settings["chat_template_kwargs"] = kwargs
    return settings


def model_settings(params: Params) -> dict[str, Any]:
    """The settings that decide the models of a seed, besides the files of models in a directory."""
    names = {"student": params.models.student, "teacher": params.teacher.model}
    settings: dict[str, Any] = {**names, "kind": params.teacher.kind}
    if DEMO in names.values():
        settings |= {
            "demo": params.models.demo.determining(),
            "evaluation": params.evaluation.determining(),
            "max_new_tokens": params.rollout.max_new_tokens,
            "num_threads": params.compute.num_threads,
        }
    return settings


def evaluate_settings(params: Params, root: Path) -> dict[str, Any]:
    """The settings that decide what a run is measured on, besides the items."""
    settings = params.benchmarks.determining()
    if params.benchmarks.system is None and params.prompts.system is not None:
        settings["system"] = params.prompts.system
    if digests := digests_of_files(params.benchmarks, root):
        settings["suite_files"] = digests
    return settings


def run_settings(params: Params, arm: str, seed: int) -> dict[str, Any]:
    """The settings that decide the results of a run, without the learning rate that a sweep chooses."""
    settings = resolve(params, arm, seed).determining()
    if params.every_arm[arm].lr_of is not None:
        del settings["train"]["lr"]
    return settings
