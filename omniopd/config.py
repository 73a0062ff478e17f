"""params.yaml: its schema, its checks, and the settings of one run resolved from it."""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import YAMLError

from omniopd.errors import ConfigError
from omniopd.methods import Method, OmniOPD
from omniopd.tasks import TASKS

DEMO = "demo"  # the name of a model that `base` trains
DEMO_CONTEXT = 128  # tokens that it can read


class Section(BaseModel):
    """A block of params.yaml: frozen, and closed to keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Prompts(Section):
    source: str = Field(min_length=1)
    num_train: int = Field(gt=0)
    num_validation: int = Field(gt=0)
    num_heldout: int = Field(gt=0)


class DemoModel(Section):
    """A Qwen3 small enough to train on a CPU, and how it is trained."""

    width: int = Field(gt=0)
    ffn_width: int = Field(gt=0)
    num_layers: int = Field(gt=0)
    num_heads: int = Field(gt=0)
    num_steps: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    num_examples: int = Field(gt=0)
    lr: float = Field(gt=0)
    stop_accuracy: float = Field(
        1.0, gt=0, le=1, description="greedy, on the validation prompts; 1 trains to the last step"
    )

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "DemoModel":
        if self.width % (2 * self.num_heads):
            raise ValueError(
                f"width {self.width} does not split into {self.num_heads} heads of even size; "
                f"make it a multiple of {2 * self.num_heads}"
            )
        return self


class DemoModels(Section):
    student: DemoModel
    teacher: DemoModel


class Models(Section):
    student: str = Field(min_length=1)
    demo: DemoModels


class TeacherConfig(Section):
    kind: str
    model: str = Field(min_length=1)
    temperature: float = Field(ge=0)
    batch_size: int = Field(gt=0)

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, kind: str) -> str:
        if not re.fullmatch(r"transformers|[\w.]+:\w+", kind):
            raise ValueError(f"{kind!r} is no kind of teacher; write transformers, or package.module:Class")
        return kind


class Rollout(Section):
    num_prompts: int = Field(gt=0)
    num_samples: int = Field(gt=0)
    max_new_tokens: int = Field(gt=0)
    temperature: float = Field(gt=0)
    batch_size: int = Field(gt=0)
    num_shards: int = Field(gt=0)

    @model_validator(mode="after")
    def _prompts_whole(self) -> "Rollout":
        if self.batch_size % self.num_samples:
            raise ValueError(
                f"batch_size {self.batch_size} would part the {self.num_samples} samples of a prompt; "
                "make it a multiple of num_samples"
            )
        return self


class Train(Section):
    num_rounds: int = Field(gt=0)
    lr: float = Field(gt=0)
    warmup_rounds: int = Field(ge=0)
    max_grad_norm: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    batch_size: int = Field(gt=0)
    checkpoint_every: int = Field(gt=0)
    validate_every: int = Field(gt=0)


class Evaluation(Section):
    answer_pattern: str
    batch_size: int = Field(gt=0)

    @field_validator("answer_pattern")
    @classmethod
    def _one_group(cls, pattern: str) -> str:
        try:
            num_groups = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression ({error}); mend it") from error
        if num_groups < 1:
            raise ValueError(f"{pattern!r} has no group; put the part that is the answer in parentheses")
        return pattern


class Compute(Section):
    num_threads: int = Field(gt=0)


class Tracking(Section):
    enabled: bool
    uri: str = Field(min_length=1)
    experiment: str = Field(min_length=1)


class Methods(Section):
    """One block per method. The fields are the registry: a method is known by its field's name."""

    omniopd: OmniOPD = OmniOPD()  # pyright: ignore[reportCallIssue]


class Arm(Section):
    method: str
    settings: dict[str, Any] = {}
    train: dict[str, Any] = {}
    rollout: dict[str, Any] = {}


class Params(Section):
    """The whole of params.yaml."""

    seeds: list[int] = Field(min_length=1)
    prompts: Prompts
    models: Models
    teacher: TeacherConfig
    rollout: Rollout
    train: Train
    evaluation: Evaluation
    compute: Compute
    tracking: Tracking
    methods: Methods
    arms: dict[str, Arm] = Field(min_length=1)

    @field_validator("seeds")
    @classmethod
    def _seeds_once(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) != len(seeds) or min(seeds) < 0:
            raise ValueError(f"{seeds} must be different numbers, none negative; mend the list")
        return seeds

    @field_validator("arms")
    @classmethod
    def _arm_names(cls, arms: dict[str, Arm]) -> dict[str, Arm]:
        for name in arms:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
                raise ValueError(f"{name!r} cannot name a folder; use letters, digits, '.', '_' and '-'")
        return arms


class RunConfig(Section):
    """What one (arm, seed) does: the blocks of params.yaml with the arm's overrides in place."""

    arm: str
    seed: int
    method_name: str
    method: Method
    prompts: Prompts
    models: Models
    teacher: TeacherConfig
    rollout: Rollout
    train: Train
    evaluation: Evaluation
    compute: Compute
    tracking: Tracking

    def resolved(self) -> dict[str, Any]:
        """Every setting as plain values, for the record."""
        return {**self.model_dump(), "method": self.method.model_dump()}

    def determining(self) -> dict[str, Any]:
        """The settings that decide the bytes of the results: neither shards nor tracking do."""
        settings = self.resolved()
        del settings["tracking"], settings["rollout"]["num_shards"]
        return settings


def load_params(path: Path) -> Params:
    """params.yaml, checked.

    Raises:
        ConfigError: every mistake found, a line each: place, what was found, what to do.
    """
    raw = _read_yaml(path)
    params = _validated(Params, raw, str(path))
    problems = []
    for name in params.arms:
        try:
            resolve(params, name, params.seeds[0], file=str(path))
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))
    return params


def resolve(params: Params, arm_name: str, seed: int, *, file: str = "params.yaml") -> RunConfig:
    """The settings of one run.

    Raises:
        ConfigError: an arm or method that does not exist, or overrides that do not fit.
    """
    if arm_name not in params.arms:
        raise ConfigError(f"{file}: arms.{arm_name}: no such arm{_nearest(arm_name, params.arms)}")
    arm, place = params.arms[arm_name], f"{file}: arms.{arm_name}"
    if arm.method not in type(params.methods).model_fields:
        known = type(params.methods).model_fields
        raise ConfigError(f"{place}.method: no method is called {arm.method!r}{_nearest(arm.method, known)}")
    block: Method = getattr(params.methods, arm.method)
    blocks = {"settings": (block, arm.settings)} | {
        name: (getattr(params, name), getattr(arm, name)) for name in ("train", "rollout")
    }
    changed, mistakes = {}, []
    for name, (default, own) in blocks.items():
        try:
            changed[name] = _validated(type(default), {**default.model_dump(), **own}, f"{place}.{name}")
        except ConfigError as error:
            mistakes.append(str(error))
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    method: Method = changed.pop("settings")
    config = RunConfig(
        arm=arm_name,
        seed=seed,
        method_name=arm.method,
        method=method,
        **changed,
        **{name: getattr(params, name) for name in _SHARED},
    )
    problems = method.problems(max_new_tokens=config.rollout.max_new_tokens)
    if problems:
        raise ConfigError("\n".join(f"{place} (methods.{arm.method}): {problem}" for problem in problems))
    return config


_SHARED = ("prompts", "models", "teacher", "evaluation", "compute", "tracking")


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


def builtin_task(params: Params | RunConfig) -> str | None:
    """The name of the built-in task that prompts.source names, or None where it names a file."""
    return params.prompts.source if params.prompts.source in TASKS else None


def _read_yaml(path: Path) -> Any:
    # YAML 1.2, the parser that DVC reads the same file with: 2e-4 is a number, a key twice an error.
    try:
        raw = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path}: no such file; run in the folder that holds it, or pass --params"
        ) from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); name a file of settings") from error
    except DuplicateKeyError as error:
        where = error.problem_mark.line + 1 if error.problem_mark else 0
        raise ConfigError(
            f"{path}:{where}: {_one_line(str(error.problem))}; delete one of the two"
        ) from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {_one_line(str(error))}; mend the line") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: holds no settings; start from the params.yaml of the repository")
    return raw


def _validated(model: type[Any], value: object, place: str) -> Any:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        lines = [_error_line(model, found, place) for found in error.errors()]
        raise ConfigError("\n".join(lines)) from error


def _error_line(model: type[BaseModel], found: Any, place: str) -> str:
    path = ".".join(map(str, found["loc"]))
    where = (f"{place}.{path}" if "arms." in place else f"{place}: {path}") if path else place
    value, context = found["input"], found.get("ctx", {})
    match found["type"]:
        case "extra_forbidden":
            known = _fields_at(model, found["loc"][:-1])
            return f"{where}: unknown key{_nearest(str(found['loc'][-1]), known)}"
        case "missing":
            return f"{where}: is missing; add it, as in the params.yaml of the repository"
        case "value_error":
            return f"{where}: {_one_line(str(context['error']))}"
        case "too_short" | "string_too_short":
            return f"{where}: is empty; give at least one"
        case "model_type" | "dict_type":
            return f"{where}: {value!r} is not a block of settings; write `name: value` lines below the key"
        case "greater_than" if context["gt"] == 0:
            reason = f"{value!r} is not positive"
        case "greater_than_equal" if context["ge"] == 0:
            reason = f"{value!r} is negative"
        case _:
            message = found["msg"].removeprefix("Input ")
            reason = f"{value!r} {message[0].lower()}{message[1:]}"
    return f"{where}: {reason}{_published(model, found['loc'])}"


def _published(model: type[BaseModel], loc: tuple[Any, ...]) -> str:
    owner = _model_at(model, loc[:-1])
    field = owner.model_fields.get(str(loc[-1])) if owner and loc else None
    if owner is None or field is None or not issubclass(owner, Method) or field.is_required():
        return "; give another value"
    return f"; the published value is {field.default}"


def _model_at(model: type[BaseModel], loc: tuple[Any, ...]) -> type[BaseModel] | None:
    for name in loc:
        field = model.model_fields.get(str(name))
        annotation = field.annotation if field else None
        if annotation == dict[str, Arm]:
            annotation = Arm
        elif not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            # The name of an arm, one level below the dictionary of arms.
            annotation = model if model is Arm else None
        if annotation is None:
            return None
        model = annotation
    return model


def _fields_at(model: type[BaseModel], loc: tuple[Any, ...]) -> Mapping[str, object]:
    owner = _model_at(model, loc)
    return owner.model_fields if owner else {}


def _nearest(name: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known are {', '.join(known)}" if known else "; delete it"


def _one_line(text: str) -> str:
    return " ".join(text.split())
