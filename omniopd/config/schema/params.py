"""The whole of params.yaml, and the settings of one run."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field, SerializeAsAny, field_validator, model_validator

from omniopd.config.schema.compute import Compute
from omniopd.config.schema.evaluation import Benchmarks, Evaluation
from omniopd.config.schema.models import Models
from omniopd.config.schema.prompts import Prompts
from omniopd.config.schema.teacher import TeacherConfig, hint_columns
from omniopd.config.schema.tracking import Alarms, Tracking
from omniopd.config.schema.training import Rollout, Train
from omniopd.methods import GRPO, OPD, SFT, Fork, Method, OmniOPD, Plan
from omniopd.settings import Key, Section

ARM_LEN = 100  # characters of a name; file systems allow 255 bytes, suffixes included


def _different(seeds: list[int]) -> list[int]:
    if len(set(seeds)) != len(seeds) or any(seed < 0 for seed in seeds):
        raise ValueError(f"{seeds} must be different numbers, none negative; fix the list")
    return seeds


Seeds = Annotated[list[int], AfterValidator(_different)]


class Methods(Section):
    """One block per method. The fields are the registry: a method is named by its field."""

    sft: SFT = SFT()  # pyright: ignore[reportCallIssue]
    grpo: GRPO = GRPO()  # pyright: ignore[reportCallIssue]
    opd: OPD = OPD()  # pyright: ignore[reportCallIssue]
    omniopd: OmniOPD = OmniOPD()  # pyright: ignore[reportCallIssue]
    fork: Fork = Fork()  # pyright: ignore[reportCallIssue]


class Arm(Section):
    method: str = Field(description="a block of `methods`, or package.module:Class")
    lr_of: str | None = Field(
        default=None,
        description="the arm whose sweep decides the learning rate: itself or another; else train.lr",
    )
    settings: dict[str, Any] = Field(default={}, description="what differs from the method's block")
    train: dict[str, Any] = Field(default={}, description="what differs from the block train")
    rollout: dict[str, Any] = Field(default={}, description="what differs from the block rollout")
    teacher: dict[str, Any] = Field(
        default={}, description="what differs from the block teacher, of context and hint alone"
    )

    @field_validator("teacher")
    @classmethod
    def _same_teacher(cls, teacher: dict[str, Any]) -> dict[str, Any]:
        if other := sorted(teacher.keys() - {"context", "hint"}):
            raise ValueError(f"{other[0]!r} is the same for all arms; set teacher.{other[0]}")
        return teacher

    @model_validator(mode="after")
    def _one_rate(self) -> "Arm":
        if self.lr_of is not None and "lr" in self.train:
            raise ValueError("train.lr and lr_of both give a learning rate; delete one of the two")
        return self


class Sweep(Section):
    """The learning rates that swept arms try, and the seeds that they try them on."""

    seeds: Seeds = Field(
        default=[100], min_length=1, description="of the sweep; their prompts measure nothing else"
    )
    lrs: list[float] = Field(
        default=[1e-6, 3e-6, 1e-5, 3e-5], min_length=1, description="learning rates to try, ascending"
    )

    @field_validator("lrs")
    @classmethod
    def _ascending(cls, lrs: list[float]) -> list[float]:
        if sorted(set(lrs)) != lrs or lrs[0] <= 0:
            raise ValueError(f"{lrs} must ascend from above 0; fix the list")
        return lrs


class Comparison(Section):
    against: str | None = Field(
        default=None, description="the arm that the others are paired with, seed by seed"
    )


class Params(Section):
    """The whole of params.yaml."""

    seeds: Seeds = Field(
        default=[0],
        min_length=1,
        description="each arm runs once per seed, on prompts and models of that seed",
    )
    prompts: Prompts
    models: Models = Field(default_factory=Models)
    teacher: TeacherConfig = Field(default_factory=TeacherConfig)
    rollout: Rollout = Field(default_factory=Rollout)
    train: Train = Field(default_factory=Train)
    evaluation: Evaluation = Field(default_factory=Evaluation)
    benchmarks: Benchmarks = Field(default_factory=Benchmarks)
    compute: Compute = Field(default_factory=Compute)
    tracking: Tracking = Field(default_factory=Tracking)
    alarms: Alarms = Field(default_factory=Alarms)
    methods: Methods = Field(default_factory=Methods)
    sweep: Sweep = Field(default_factory=Sweep)
    comparison: Comparison = Field(default_factory=Comparison)
    arms: dict[str, Arm] = Field(min_length=1, description="what is compared")
    ablations: dict[str, Arm] = Field(default={}, description="further arms, on ablation_seeds")
    ablation_seeds: Seeds = Field(default=[0], description="seeds of the ablations")

    @field_validator("arms", "ablations")
    @classmethod
    def _arm_names(cls, arms: dict[str, Arm]) -> dict[str, Arm]:
        for name in arms:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
                raise ValueError(f"{name!r} cannot name a folder; use letters, digits, '.', '_' and '-'")
            if len(name) > ARM_LEN:
                raise ValueError(
                    f"'{name[:20]}…' has {len(name)} characters, and files are named after it; use at most {ARM_LEN}"
                )
            if reserved := re.search(r"-\d+\.(lr|with|replaced)\b", name):
                raise ValueError(
                    f"{name!r} holds {reserved[0]!r}, as the folders of sweeps and variants do; choose another name"
                )
        return arms

    @property
    def every_arm(self) -> dict[str, Arm]:
        """The arms and the ablations by name."""
        return {**self.arms, **self.ablations}

    @property
    def hint_columns(self) -> list[str]:
        """The columns of the source that a teacher's hint shows in some arm, in alphabetical order."""
        hints = [self.teacher.hint, *(arm.teacher.get("hint") for arm in self.every_arm.values())]
        return sorted({name for hint in hints if isinstance(hint, str) for name in hint_columns(hint)})

    @property
    def runs(self) -> list[tuple[str, int]]:
        """(arm, seed) of everything that is compared."""
        return [(arm, seed) for arm in self.arms for seed in self.seeds] + [
            (arm, seed) for arm in self.ablations for seed in self.ablation_seeds
        ]

    def key_of(self, arm: str) -> str:
        """The arm's key in params.yaml, such as `ablations.fork-random`."""
        return f"{'arms' if arm in self.arms else 'ablations'}.{arm}"

    def is_swept(self, arm: str) -> bool:
        """Whether the arm takes the learning rate that its own sweep finds best."""
        return self.every_arm[arm].lr_of == arm


class RunConfig(Section):
    """The settings of one (arm, seed): the blocks of params.yaml with the arm's overrides applied."""

    arm: str
    seed: int
    method_name: str
    method: SerializeAsAny[Method]
    prompts: Prompts
    models: Models
    teacher: TeacherConfig
    rollout: Rollout
    train: Train
    evaluation: Evaluation
    compute: Compute
    tracking: Annotated[Tracking, Key.NEVER]
    alarms: Annotated[Alarms, Key.NEVER]

    def plan(self) -> Plan:
        """The facts of the run that a method checks its settings against."""
        return Plan(
            num_samples=self.rollout.num_samples,
            max_new_tokens=self.rollout.max_new_tokens,
            steps_per_round=self.train.steps_per_round,
        )

    @property
    def has_sampler_scores(self) -> bool:
        """Whether trajectories keep the sampler's scores; responses written by a teacher have none."""
        return self.rollout.selection_entropy == "engine" and self.method.source == "student"
