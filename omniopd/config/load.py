"""From the text of params.yaml to checked settings, and from those to the settings of one run."""

from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any, cast

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import YAMLError

from omniopd.config.messages import mistakes_in, nearest, one_line, validated
from omniopd.config.overrides import check_values, overridden, read_yaml
from omniopd.config.plugins import imported, make_importable
from omniopd.config.recipes import with_recipe
from omniopd.config.schema import DEMO, Methods, Params, Rollout, RunConfig, Train
from omniopd.errors import ConfigError
from omniopd.methods import Method
from omniopd.tasks import TASKS


def load_params(path: Path, overrides: Mapping[str, Any] | None = None) -> Params:
    """params.yaml with the overrides of one run in their place, checked.

    Raises:
        ConfigError: every mistake found, a line each: place, what was found, what to do.
    """
    raw = _read_yaml(path)
    check_values(raw, str(path))
    raw = overridden(with_recipe(raw, str(path)), overrides or {})
    make_importable(path.parent)
    try:
        params = validated(Params, raw, str(path))
    except ConfigError as error:
        raise ConfigError("\n".join([str(error), *_arm_mistakes(raw, str(path))])) from error
    problems = _rate_problems(params, str(path))
    for name in params.every_arm:
        try:
            resolve(params, name, params.seeds[0], file=str(path))
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))
    return params


def as_yaml(params: Params) -> str:
    """Every setting, defaults included, as a params.yaml."""
    yaml, text = YAML(typ="safe", pure=True), StringIO()
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # pyright: ignore[reportAttributeAccessIssue]
    yaml.dump(params.model_dump(), text)
    return text.getvalue()


def resolve(
    params: Params, arm_name: str, seed: int, *, lr: float | None = None, file: str = "params.yaml"
) -> RunConfig:
    """The settings of one run, at the learning rate lr, or else at the arm's own or that of the block `train`.

    Raises:
        ConfigError: an arm or method that does not exist, or overrides that do not fit.
    """
    arms = params.every_arm
    if arm_name not in arms:
        raise ConfigError(f"{file}: arms.{arm_name}: no such arm{nearest(arm_name, arms)}")
    group = "arms" if arm_name in params.arms else "ablations"
    arm, place = arms[arm_name], f"{file}: {group}.{arm_name}"
    try:
        kind = method_class(arm.method)
    except ConfigError as error:
        raise ConfigError(f"{place}.method: {error}") from error
    # A method from outside has no block below `methods`: its arms start from the class's own defaults.
    block = getattr(params.methods, arm.method, None)
    blocks = {"settings": (kind, block, arm.settings)} | {
        name: (type(getattr(params, name)), getattr(params, name), getattr(arm, name))
        for name in ("train", "rollout")
    }
    changed, mistakes = {}, []
    for name, (model, default, own) in blocks.items():
        try:
            given = {**(default.model_dump() if default else {}), **own}
            changed[name] = validated(model, given, f"{place}.{name}")
        except ConfigError as error:
            mistakes.append(str(error))
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    method: Method = changed.pop("settings")
    if lr is not None:
        changed["train"] = changed["train"].model_copy(update={"lr": lr})
    config = RunConfig(
        arm=arm_name,
        seed=seed,
        method_name=arm.method,
        method=method,
        **changed,
        **{name: getattr(params, name) for name in _SHARED},
    )
    problems = [f"{place}: {problem}" for problem in [*_size_problems(config), *_engine_problems(config)]]
    problems += [f"{place} (methods.{arm.method}): {problem}" for problem in method.problems(config.plan())]
    if problems:
        raise ConfigError("\n".join(problems))
    return config


def method_class(name: str) -> type[Method]:
    """The class of a method: one of the blocks below `methods`, or package.module:Class.

    Raises:
        ConfigError: there is no such method.
    """
    if name in Methods.model_fields:
        return cast(type[Method], Methods.model_fields[name].annotation)
    if ":" not in name:
        raise ConfigError(f"no method is called {name!r}{nearest(name, Methods.model_fields)}")
    found = imported(name)
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise ConfigError(f"{name!r} is no omniopd.methods.Method; derive the class from it")
    return found


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
    """Whether an engine of rollouts can live where rollouts are made."""
    if config.rollout.engine == "transformers" or config.method.source == "teacher":
        return []
    elsewhere = {
        "compute.dask": config.compute.dask is not None,
        "compute.where.roll_out": config.compute.place_of("roll_out") != "inline",
    }
    return [
        f"rollout.engine {config.rollout.engine} lives in the flow's own process for the whole run, and {place} makes "
        f"rollouts in others; take {place} out of params.yaml, or take transformers"
        for place, is_set in elsewhere.items()
        if is_set
    ]


def _rate_problems(params: Params, file: str) -> list[str]:
    """What is wrong between arms: names, and the sweeps that learning rates are taken from."""
    found = [
        f"{file}: ablations.{name}: an arm is called so too; rename one of the two"
        for name in params.ablations
        if name in params.arms
    ]
    swept = [name for name in params.arms if params.is_swept(name)]
    for group, arms in (("arms", params.arms), ("ablations", params.ablations)):
        for name, arm in arms.items():
            if arm.lr_of is not None and arm.lr_of not in swept:
                found.append(
                    f"{file}: {group}.{name}.lr_of: {arm.lr_of!r} is no arm that is swept (one of `arms` whose lr_of "
                    f"is itself){nearest(arm.lr_of, dict.fromkeys(swept))}"
                )
    against = params.comparison.against
    if against is not None and against not in params.arms:
        found.append(
            f"{file}: comparison.against: no arm is called {against!r}{nearest(against, params.arms)}"
        )
    return found


def _arm_mistakes(raw: dict[str, Any], file: str) -> list[str]:
    """The mistakes in what arms override, where the blocks that they override are themselves wrong."""
    found = []
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
        }
        for key, (model, default) in blocks.items():
            own = _block(arm, key)
            place = f"{file}: {group}.{name}.{key}"
            found += mistakes_in(cast(type, model), {**default, **own}, place, keys=own.keys())
    return found


def _block(raw: Any, *path: str) -> dict[str, Any]:
    for name in path:
        raw = raw.get(name) if isinstance(raw, dict) else None
    return raw if isinstance(raw, dict) else {}


_SHARED = ("prompts", "models", "teacher", "evaluation", "compute", "tracking", "alarms")


def demo_problems(params: Params, file: str) -> list[str]:
    """A demo model is trained on a built-in task, and so cannot be had for a file of prompts."""
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
    """The prompts of a built-in task are drawn as they are: what a source is read with says nothing of them."""
    task = builtin_task(params)
    names = ("subset", "template", "answer_pattern", "max_prompt_tokens", "decontaminate")
    return [
        f"{file}: prompts.{name}: {task} is a built-in task, whose prompts are made as they are; set it to null"
        for name in names
        if task is not None and getattr(params.prompts, name) is not None
    ]


def builtin_task(params: Params | RunConfig) -> str | None:
    """The name of the built-in task that prompts.source names, or None where it names a file or a hub dataset."""
    return params.prompts.source if params.prompts.source in TASKS else None


def _read_yaml(path: Path) -> Any:
    try:
        raw = read_yaml(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path}: no such file; run in the folder that holds it, or pass --params"
        ) from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); name a file of settings") from error
    except DuplicateKeyError as error:
        where = error.problem_mark.line + 1 if error.problem_mark else 0
        raise ConfigError(f"{path}:{where}: {one_line(str(error.problem))}; delete one of the two") from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {one_line(str(error))}; fix the line") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: holds no settings; start from the params.yaml of the repository")
    return raw
