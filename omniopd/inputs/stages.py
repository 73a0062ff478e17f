"""resolved/: the settings that decide the outputs of each stage of dvc.yaml, one small file per stage.

DVC compares files. So a stage runs again when a setting that its outputs depend on has changed, and only then.
"""

from collections.abc import Sequence
from typing import Any

from omniopd.config import DEMO, Params, builtin_task, load_params, resolve
from omniopd.data.layout import Layout
from omniopd.data.store import write_json
from omniopd.errors import ConfigError
from omniopd.grading.graders import grader_of
from omniopd.versions import commit, is_recorded_here


def record(params: Params, layout: Layout, stages: Sequence[str]) -> str | None:
    """Have DVC version the outputs of stages that it did not run. Returns a sentence if it does not.

    DVC would record them as made under the present params.yaml, so it does not where that gives them other settings.
    """
    if not is_recorded_here(layout.root):
        return None
    path = layout.root / "params.yaml"
    try:
        present = load_params(path)
    except ConfigError as error:
        return f"DVC did not record {', '.join(stages)} ({error})"
    used, given = stage_settings(params), stage_settings(present)
    if any(used.get(name) != given.get(name) for name in map(_file_of, stages)):
        return f"DVC did not record {', '.join(stages)}: {path} has changed since; `dvc repro` runs what it asks for"
    write_resolved(present, layout)
    return commit(layout.root, ["resolve", *stages])


def _file_of(stage: str) -> str:
    """The name in resolved/ of the settings of a stage of dvc.yaml.

    >>> _file_of("ablate@fork-random-0"), _file_of("evaluate-ablation@fork-random-0"), _file_of("prepare@0")
    ('distill-fork-random-0', 'evaluate', 'prepare')
    """
    kind, _, run = stage.partition("@")
    return f"distill-{run}" if kind in ("distill", "ablate") else kind.partition("-")[0]


def write_resolved(params: Params, layout: Layout) -> None:
    """Write resolved/, and remove the files of runs that params no longer list."""
    wanted = stage_settings(params)
    for stale in layout.resolved.glob("*.json"):
        if stale.stem not in wanted:
            stale.unlink()
    for name, settings in wanted.items():
        write_json(layout.resolved / f"{name}.json", settings)


def stage_settings(params: Params) -> dict[str, dict[str, Any]]:
    """The settings that decide what each stage makes: of `prepare`, `base`, …, `distill-ARM-SEED`, `sweep-ARM-SEED`."""
    return {
        "prepare": prompt_settings(params),
        "base": model_settings(params),
        "rates": {
            "lr_of": {name: arm.lr_of for name, arm in params.every_arm.items()},
            "sweep": params.sweep.determining(),
        },
        "evaluate": params.benchmarks.determining(),
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
    """What decides the prompts of a seed, besides the files that they are read from."""
    settings: dict[str, Any] = {"prompts": params.prompts.determining()}
    if builtin_task(params) is not None:
        demo = params.models.demo
        settings["num_examples"] = [demo.student.num_examples, demo.teacher.num_examples]
        return settings
    settings["measured_by"] = grader_of(params.evaluation).needs
    if params.prompts.max_prompt_tokens:
        settings["student"] = params.models.student  # whose tokenizer counts
    return settings


def model_settings(params: Params) -> dict[str, Any]:
    """What decides the models of a seed, besides the files of those that are named by a directory."""
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


def run_settings(params: Params, arm: str, seed: int) -> dict[str, Any]:
    """What decides the results of a run, besides its inputs and the learning rate that a sweep chose."""
    settings = resolve(params, arm, seed).determining()
    if params.every_arm[arm].lr_of is not None:
        del settings["train"]["lr"]
    return settings
