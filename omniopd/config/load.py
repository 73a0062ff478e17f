"""From the text of params.yaml to checked settings, and from those to the settings of one run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from omniopd.config.benchmarks import benchmark_mistakes
from omniopd.config.files import read_settings
from omniopd.config.messages import mistakes_in, nearest, validated
from omniopd.config.overrides import overridden, with_recipe
from omniopd.config.plugins import imported, make_importable
from omniopd.config.schema.models import DEMO
from omniopd.config.schema.params import Methods, Params, RunConfig
from omniopd.config.schema.teacher import TeacherConfig
from omniopd.config.schema.training import Rollout, Train
from omniopd.config.single import yaml_text
from omniopd.errors import ConfigError
from omniopd.methods import Method
from omniopd.tasks import TASKS

INPUTS = (
    "seeds",
    "prompts",
    "models",
    "teacher",
    "evaluation",
    "benchmarks",
)  # what runs are made from and measured by


def load_params(path: Path, overrides: Mapping[str, Any] | None = None) -> Params:
    """params.yaml with the overrides of one run applied, checked.

    Raises:
        ConfigError: every mistake, a line each: the setting, its value, the remedy.
    """
    raw = _raw(path, overrides or {})
    make_importable(path.parent)
    try:
        params = validated(Params, raw, str(path))
    except ConfigError as error:
        raise ConfigError("\n".join([str(error), *_arm_mistakes(raw, str(path))])) from error
    problems = _rate_problems(params, str(path))
    problems += benchmark_mistakes(params.benchmarks, path.parent, params.prompts.system, str(path))
    for name in params.every_arm:
        try:
            resolve(params, name, params.seeds[0], file=str(path))
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))
    return params


def load_inputs(path: Path, overrides: Mapping[str, Any] | None = None) -> Params | None:
    """The settings of prompts, models and measurements, with an arm that asks little; None if they are mistaken.

    To find mistakes in what they name although other settings are mistaken.
    """
    raw = _raw(path, overrides or {})
    modest = {"method": "sft", "rollout": {"num_prompts": 1, "max_new_tokens": 1}}
    inputs = {name: raw[name] for name in INPUTS if name in raw}
    try:
        return Params.model_validate({**inputs, "arms": {"any": modest}})
    except ValidationError:
        return None


def _raw(path: Path, overrides: Mapping[str, Any]) -> dict[str, Any]:
    raw = read_settings(
        path,
        where="run in the folder that holds it, or pass --params",
        example=Params.shown_in,
    )
    return overridden(with_recipe(raw, str(path)), overrides)


def as_yaml(params: Params) -> str:
    """Every setting, defaults included, as text of a params.yaml."""
    return yaml_text(params.model_dump())


def resolve(
    params: Params, arm_name: str, seed: int, *, lr: float | None = None, file: str = "params.yaml"
) -> RunConfig:
    """The settings of one run. Without `lr` the learning rate is the arm's, or else that of the block `train`.

    Raises:
        ConfigError: an arm or method that does not exist, or overrides that do not fit.
    """
    arms = params.every_arm
    if arm_name not in arms:
        raise ConfigError(f"{file}: arms.{arm_name}: no such arm{nearest(arm_name, arms)}")
    arm, place = arms[arm_name], f"{file}: {params.key_of(arm_name)}"
    try:
        kind = method_class(arm.method)
    except ConfigError as error:
        raise ConfigError(f"{place}.method: {error}") from error
    # A method of another package has no block below `methods`: its arms start from the defaults of the class.
    block = getattr(params.methods, arm.method, None)
    blocks = {"settings": (kind, block, arm.settings)} | {
        name: (type(getattr(params, name)), getattr(params, name), getattr(arm, name))
        for name in ("train", "rollout", "teacher")
    }
    changed, mistakes = {}, []
    for name, (model, default, overrides) in blocks.items():
        try:
            values = {**(default.model_dump() if default else {}), **overrides}
            changed[name] = validated(model, values, f"{place}.{name}")
        except ConfigError as error:
            mistakes.append(str(error))
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    method: Method = changed.pop("settings")
    if lr is not None:
        changed["train"] = changed["train"].model_copy(update={"lr": lr})
    shared = {name: getattr(params, name) for name in Params.model_fields if name in RunConfig.model_fields}
    config = RunConfig(arm=arm_name, seed=seed, method_name=arm.method, method=method, **shared | changed)
    problems = [f"{place}: {problem}" for problem in [*_size_problems(config), *_engine_problems(config)]]
    problems += [f"{place} (methods.{arm.method}): {problem}" for problem in method.problems(config.plan())]
    if problems:
        raise ConfigError("\n".join(problems))
    return config


def run_of(params: Params, arm: str | None, seed: int | None, *, file: str) -> tuple[str, int]:
    """An arm and a seed, of which either may be left out: the only arm of params, and the first of the arm's seeds.

    Raises:
        ConfigError: no arm is given, and params have several.
    """
    if arm is None:
        if len(params.arms) > 1:
            raise ConfigError(f"{file}: has several arms; choose one with --arm: {', '.join(params.arms)}")
        [arm] = params.arms
    seeds = params.ablation_seeds if arm in params.ablations else params.seeds
    return arm, seeds[0] if seed is None else seed


def method_class(name: str) -> type[Method]:
    """The class of a method: a block below `methods`, or package.module:Class.

    Raises:
        ConfigError: there is no such method.
    """
    if name in Methods.model_fields:
        return cast(type[Method], Methods.model_fields[name].annotation)
    if ":" not in name:
        raise ConfigError(f"no method is called {name!r}{nearest(name, Methods.model_fields)}")
    imported_class = imported(name)
    if not (isinstance(imported_class, type) and issubclass(imported_class, Method)):
        raise ConfigError(f"{name!r} is not an omniopd.methods.Method; derive the class from it")
    return imported_class


def _size_problems(config: RunConfig) -> list[str]:
    problems = []
    num_asked, num_train = config.rollout.num_prompts, config.prompts.num_train
    if num_asked > num_train:
        problems.append(
            f"a round asks {num_asked} different prompts (rollout.num_prompts), and there are {num_train} "
            "(prompts.num_train); lower the one or raise the other"
        )
    num_responses, num_steps = num_asked * config.rollout.num_samples, config.train.steps_per_round
    if num_steps > num_responses:
        problems.append(
            f"a round of {num_responses} responses cannot be split over train.steps_per_round = {num_steps}; lower it"
        )
    return problems


def _engine_problems(config: RunConfig) -> list[str]:
    """An engine lives in the flow's process, so rollouts cannot be sampled in others."""
    if config.rollout.engine == "transformers" or config.method.source == "teacher":
        return []
    elsewhere = {
        "compute.dask": config.compute.dask is not None,
        "compute.where.roll_out": config.compute.place_of("roll_out") != "inline",
    }
    return [
        f"rollout.engine {config.rollout.engine} lives in the flow's process for the whole run, and {place} samples "
        f"rollouts in others; take {place} out of params.yaml, or take transformers"
        for place, is_set in elsewhere.items()
        if is_set
    ]


def _rate_problems(params: Params, file: str) -> list[str]:
    """Mistakes across arms: their names, and the sweeps that learning rates are taken from."""
    problems = [
        f"{file}: ablations.{name}: an arm has the same name; rename one of the two"
        for name in params.ablations
        if name in params.arms
    ]
    swept = [name for name in params.arms if params.is_swept(name)]
    for group, arms in (("arms", params.arms), ("ablations", params.ablations)):
        for name, arm in arms.items():
            if arm.lr_of is not None and arm.lr_of not in swept:
                problems.append(
                    f"{file}: {group}.{name}.lr_of: {arm.lr_of!r} is not a swept arm (one of `arms` whose lr_of "
                    f"is itself){nearest(arm.lr_of, swept)}"
                )
    against = params.comparison.against
    if against is not None and against not in params.arms:
        problems.append(
            f"{file}: comparison.against: no arm is called {against!r}{nearest(against, params.arms)}"
        )
    return problems


def _arm_mistakes(raw: dict[str, Any], file: str) -> list[str]:
    """The mistakes in the overrides of arms, where the blocks that they override are wrong themselves."""
    mistakes = []
    named = [(group, *item) for group in ("arms", "ablations") for item in _block(raw, group).items()]
    for group, name, arm in named:
        if not isinstance(arm, dict):
            continue
        try:
            method = method_class(str(arm.get("method")))
        except ConfigError:
            continue
        blocks = {
            "settings": (method, _block(raw, "methods", arm["method"])),
            "train": (Train, _block(raw, "train")),
            "rollout": (Rollout, _block(raw, "rollout")),
            "teacher": (TeacherConfig, _block(raw, "teacher")),
        }
        for key, (model, default) in blocks.items():
            overrides = _block(arm, key)
            place = f"{file}: {group}.{name}.{key}"
            mistakes += mistakes_in(cast(type, model), {**default, **overrides}, place, keys=overrides.keys())
    return mistakes


def _block(raw: Any, *path: str) -> dict[str, Any]:
    for name in path:
        raw = raw.get(name) if isinstance(raw, dict) else None
    return raw if isinstance(raw, dict) else {}


def demo_problems(params: Params, file: str) -> list[str]:
    """A demo model is trained on a built-in task, so there is none for a file of prompts."""
    if builtin_task(params) is not None:
        return []
    named = (("models.student", params.models.student), ("teacher.model", params.teacher.model))
    return [
        f"{file}: {key}: 'demo' is trained on a built-in task ({', '.join(TASKS)}), and prompts.source is "
        f"the file {params.prompts.source!r}; name a model directory or a hub name"
        for key, name in named
        if name == DEMO
    ]


def task_problems(params: Params, file: str) -> list[str]:
    """Settings of how a source is read do not apply to the prompts of a built-in task."""
    task = builtin_task(params)
    names = (
        "subset",
        "template",
        "system",
        "examples",
        "answer_pattern",
        "max_prompt_tokens",
        "decontaminate",
    )
    if task is None:
        return []
    columns = [name for name in params.hint_columns if name not in ("answer", "solution")]
    return [
        f"{file}: prompts.{name}: does not apply to {task}, which is a built-in task; leave it out"
        for name in names
        if getattr(params.prompts, name)
    ] + [
        f"{file}: teacher.hint: shows {name!r}, which problems of {task} do not have; write {{answer}} or {{solution}}"
        for name in columns
    ]


def builtin_task(params: Params | RunConfig) -> str | None:
    """The built-in task that prompts.source names; None for a file or a hub dataset."""
    return params.prompts.source if params.prompts.source in TASKS else None
