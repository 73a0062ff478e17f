"""What params.yaml may hold, block by block, and the settings of one run."""

import re
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from omniopd.methods import GRPO, OPD, SFT, Fork, Method, OmniOPD, Plan

DEMO = "demo"  # the name of a model that `base` trains
DEMO_CONTEXT = 128  # tokens that it can read
ARM_LEN = 100  # characters of a name; file systems allow 255 bytes with all that is added to it
KEY_NAMES = (
    "api_key",
    "x_api_key",
    "authorization",
    "proxy_authorization",
    "cookie",
)  # of settings and headers
# What a call's request holds already, or what would change what a reply means or costs; and what to set instead.
OWNED_BY_CALLS = {
    **dict.fromkeys(("model", "deployment_id", "model_list", "custom_llm_provider"), "teacher.model"),
    **dict.fromkeys(("api_base", "base_url"), "teacher.base_url"),
    **dict.fromkeys(("max_tokens", "max_completion_tokens"), "chunk_len, spare_tokens or rollout.max_new_tokens"),
    **dict.fromkeys(("timeout", "request_timeout", "stream_timeout"), "teacher.timeout_s"),
    **dict.fromkeys(("max_retries", "num_retries"), "teacher.max_attempts"),
    **dict.fromkeys(("n", "best_of"), "num_replies of the method"),
    **dict.fromkeys(("continue_final_message", "add_generation_prompt"), "teacher.way"),
    "temperature": "teacher.temperature",
    "use_beam_search": "teacher.temperature",
    **dict.fromkeys(
        ("messages", "prompt", "seed", "stream", "stream_options", "client", "echo", "suffix", "fallbacks",
         "context_window_fallback_dict", "mock_response", "mock_timeout", "caching", "cache"),
        None,
    ),
}  # fmt: skip
KEY_HEADER = re.compile(r"(key|token|secret|password)$")
MAPPINGS = ("extra_body", "extra_headers", "headers", "extra_query")


def _with_group(pattern: str) -> str:
    """The pattern, which is a regular expression with a group."""
    try:
        num_groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression ({error}); mend it") from error
    if num_groups < 1:
        raise ValueError(f"{pattern!r} has no group; put the part that is the answer in parentheses")
    return pattern


class Section(BaseModel):
    """A block of params.yaml: frozen, and closed to keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class PromptColumns(Section):
    """The columns of a source, or paths such as `reward_model.ground_truth`; null where there is none."""

    prompt: str = Field(min_length=1)
    answer: str | None = Field(None, min_length=1)
    id: str | None = Field(None, min_length=1)
    tests: str | None = Field(None, min_length=1)


class EvaluationSet(Section):
    """Questions that no training prompt may overlap with: a file, or a split of a hub dataset."""

    source: str = Field(min_length=1)
    subset: str | None = Field(None, min_length=1)
    split: str = Field("test", min_length=1)
    prompt: str | None = Field(
        None, min_length=1, description="its column; as in prompts.columns where not given"
    )


class Decontaminate(Section):
    """Which training prompts are dropped: those with n words in a row of a prompt that is measured on."""

    against: list[EvaluationSet]
    ngram: int = Field(gt=1)

    @field_validator("against", mode="before")
    @classmethod
    def _names_alone(cls, against: Any) -> Any:
        if not isinstance(against, list):
            return against
        return [{"source": item} if isinstance(item, str) else item for item in against]


class Prompts(Section):
    source: str = Field(min_length=1)
    subset: str | None = Field(min_length=1)
    split: str = Field(min_length=1)
    columns: PromptColumns
    template: str | None
    answer_pattern: str | None
    max_prompt_tokens: int | None = Field(gt=0)
    decontaminate: Decontaminate | None
    num_train: int = Field(gt=0)
    num_validation: int = Field(gt=0)
    num_heldout: int = Field(gt=0)

    @field_validator("template")
    @classmethod
    def _has_a_place(cls, template: str | None) -> str | None:
        if template is not None and "{prompt}" not in template:
            raise ValueError(f"{template!r} has no {{prompt}}; write that where the prompt goes")
        return template

    @field_validator("answer_pattern")
    @classmethod
    def _one_group(cls, pattern: str | None) -> str | None:
        return None if pattern is None else _with_group(pattern)


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

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "DemoModel":
        if self.width % (2 * self.num_heads):
            raise ValueError(
                f"width {self.width} does not split into {self.num_heads} heads of even size; "
                f"make it a multiple of {2 * self.num_heads}"
            )
        return self


class DemoStart(Section):
    """Where the demo's student may start: greedy accuracy on the validation prompts, both ends included."""

    lowest: float = Field(ge=0, le=1)
    highest: float = Field(ge=0, le=1)
    max_draws: int = Field(gt=0, description="initialisations tried; where none fits, the nearest is kept")

    @model_validator(mode="after")
    def _is_a_range(self) -> "DemoStart":
        if self.lowest > self.highest:
            raise ValueError(f"lowest {self.lowest} is above highest {self.highest}; give a range")
        return self

    def distance(self, accuracy: float) -> float:
        """How far an accuracy lies outside the range; 0 inside."""
        return max(self.lowest - accuracy, accuracy - self.highest, 0.0)


class DemoModels(Section):
    student: DemoModel
    teacher: DemoModel
    start: DemoStart


class Models(Section):
    student: str = Field(min_length=1)
    trust_remote_code: bool
    demo: DemoModels


class TeacherPrices(Section):
    """US dollars per million tokens: of prompts, of what of them is read from or put into a cache, and of replies."""

    input: float = Field(ge=0)
    cached_input: float | None = Field(None, ge=0, description="as input where it is not given")
    cache_write: float | None = Field(None, ge=0, description="as input where it is not given")
    output: float = Field(ge=0)


class TeacherConfig(Section):
    kind: str
    model: str = Field(min_length=1)
    temperature: float = Field(ge=0)
    batch_size: int = Field(gt=0)
    max_failed_share: float = Field(ge=0, le=1)
    tokenizer: Literal["auto", "student", "other"]
    way: Literal["auto", "prefill", "completion", "instruct"]
    base_url: str | None
    api_key_env: str | None
    request: dict[str, Any]
    engine: dict[str, Any]
    max_concurrency: int = Field(gt=0)
    requests_per_minute: float | None = Field(gt=0)
    tokens_per_minute: float | None = Field(gt=0)
    timeout_s: float = Field(gt=0)
    max_attempts: int = Field(gt=0)
    budget_usd: float | None = Field(ge=0)
    budget_tokens: int | None = Field(ge=0)
    prices: TeacherPrices | None
    cache: str = Field(min_length=1)
    offline: bool

    @property
    def is_local(self) -> bool:
        """Whether its weights are loaded in this process, from a directory or by a hub name."""
        return self.kind in ("transformers", "vllm")

    # What a reply depends on. How often, how fast, where and for how much it is asked for changes no reply.
    determining: ClassVar = ("kind", "model", "temperature", "batch_size", "tokenizer", "way", "request")

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, kind: str) -> str:
        if not re.fullmatch(r"transformers|vllm|api|[\w.]+:\w+", kind):
            raise ValueError(
                f"{kind!r} is no kind of teacher; write transformers, vllm, api, or package.module:Class"
            )
        return kind

    @field_validator("request")
    @classmethod
    def _only_additions(cls, request: dict[str, Any]) -> dict[str, Any]:
        """Mappings where mappings belong, no key of the vendor's, and nothing that a call's request holds already."""
        for name in MAPPINGS:
            if not isinstance(request.get(name) or {}, dict):
                raise ValueError(
                    f"{name!r} is {type(request[name]).__name__}, and must be a mapping; write {{ … }}"
                )
        blocks = [request, *(request.get(name) or {} for name in MAPPINGS)]
        headers = {**(request.get("extra_headers") or {}), **(request.get("headers") or {})}
        for name in (str(name) for block in blocks for name in block):
            if _plain(name) in KEY_NAMES or (name in headers and KEY_HEADER.search(_plain(name))):
                raise ValueError(
                    f"{name!r} holds a key, and params are copied into every record; put it into the environment "
                    "or .env, and its name into teacher.api_key_env"
                )
        body = [request, request.get("extra_body") or {}]
        for name in (str(name) for block in body for name in block):
            if _plain(name) in OWNED_BY_CALLS:
                instead = OWNED_BY_CALLS[_plain(name)]
                remedy = f"take it out, and set {instead}" if instead else "take it out"
                raise ValueError(f"{name!r} is set by every call itself; {remedy}")
        return request

    @field_validator("base_url")
    @classmethod
    def _no_password(cls, url: str | None) -> str | None:
        if url is not None and "@" in url.partition("://")[2].partition("/")[0]:
            raise ValueError(
                "the address holds a name or password, and params are copied into every record; take it out, put the "
                "key into the environment or .env, and its name into teacher.api_key_env"
            )
        return url


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")


class Rollout(Section):
    engine: Literal["transformers", "vllm"]
    engine_settings: dict[str, Any]
    selection_entropy: Literal["trainer", "engine"]
    num_prompts: int = Field(gt=0)
    num_samples: int = Field(gt=0)
    max_new_tokens: int = Field(gt=0)
    temperature: float = Field(gt=0)
    batch_size: int = Field(gt=0)
    overlap: int = Field(ge=0, le=1)
    num_shards: int = Field(gt=0)

    @model_validator(mode="after")
    def _awake(self) -> "Rollout":
        if self.overlap and self.engine_settings.get("enable_sleep_mode"):
            raise ValueError(
                "overlap 1 writes while the trainer works, and with enable_sleep_mode one of them waits for the other; "
                "set overlap: 0, or take enable_sleep_mode out of engine_settings"
            )
        return self

    @model_validator(mode="after")
    def _prompts_whole(self) -> "Rollout":
        if self.batch_size % self.num_samples:
            raise ValueError(
                f"batch_size {self.batch_size} would part the {self.num_samples} samples of a prompt; "
                "make it a multiple of num_samples"
            )
        return self

    @property
    def determining(self) -> dict[str, Any]:
        """What a response and its scores depend on: not on shards, nor, where the student writes in this process, on an
        engine. What was added later is named where it is in use, so that runs from before keep their keys.
        """
        no_matter = {"num_shards"}
        if self.engine == "transformers":
            no_matter |= {"engine", "engine_settings"}
        if self.selection_entropy == "trainer":
            no_matter.add("selection_entropy")
        if not self.overlap:
            no_matter.add("overlap")
        return self.model_dump(exclude=no_matter)

    def weights_of(self, round_: int) -> int:
        """The round before which the weights stood that write the responses of a round."""
        return max(0, round_ - self.overlap)


Precision = Literal["float32", "bfloat16"]


class Lora(Section):
    """An adapter that is trained in place of the weights."""

    rank: int = Field(gt=0)
    alpha: float = Field(gt=0, description="its output is scaled by alpha / rank")
    targets: list[str] | Literal["all-linear"] = Field(description="names of the layers that it is added to")

    @field_validator("targets")
    @classmethod
    def _some(cls, targets: list[str] | str) -> list[str] | str:
        if not targets:
            raise ValueError("no layer is named; name some, such as [q_proj, v_proj], or write all-linear")
        return targets


class Train(Section):
    num_rounds: int = Field(gt=0)
    lr: float = Field(gt=0)
    warmup_rounds: int = Field(ge=0)
    max_grad_norm: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    schedule: Literal["constant", "linear", "cosine"]
    steps_per_round: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    batch_tokens: int | None = Field(gt=0)
    packing: bool
    precision: Precision
    gradient_checkpointing: bool
    lora: Lora | None
    shard: bool
    checkpoint_every: int = Field(gt=0)
    validate_every: int = Field(gt=0)

    @model_validator(mode="after")
    def _shards_weights(self) -> "Train":
        if self.shard and self.lora is not None:
            raise ValueError(
                "shard divides weights that are trained among processes, and with lora they are not; set shard: false"
            )
        return self

    @property
    def num_steps(self) -> int:
        """Optimiser steps of a whole run."""
        return self.num_rounds * self.steps_per_round


Grader = Literal["pattern", "math", "code"]


class Evaluation(Section):
    grader: Grader
    answer_pattern: str | None
    batch_size: int = Field(gt=0)

    @field_validator("answer_pattern")
    @classmethod
    def _one_group(cls, pattern: str | None) -> str | None:
        return None if pattern is None else _with_group(pattern)

    @model_validator(mode="after")
    def _pattern_has_one(self) -> "Evaluation":
        if self.grader == "pattern" and self.answer_pattern is None:
            raise ValueError(
                "grader pattern needs an answer_pattern, and it is null; write one, or take grader: math"
            )
        return self

    @property
    def determining(self) -> dict[str, Any]:
        """What a grade depends on; `pattern` is not named, so that runs from before there were others keep keys."""
        return self.model_dump(exclude={"grader" if self.grader == "pattern" else "answer_pattern"})


class Benchmarks(Section):
    """What models are measured on besides the held-out prompts, and what of it is not as the benchmarks have it."""

    suite: list[str]
    files: dict[str, str]
    num_items: int | None = Field(gt=0)
    num_samples: int | None = Field(gt=0)
    temperature: float | None = Field(ge=0)
    max_new_tokens: int | None = Field(gt=0)

    @field_validator("suite")
    @classmethod
    def _once(cls, suite: list[str]) -> list[str]:
        if twice := [name for name in dict.fromkeys(suite) if suite.count(name) > 1]:
            raise ValueError(f"{twice[0]} stands there twice; delete one of the two")
        return suite


Step = Literal["roll_out", "schedule", "verify", "train", "validate"]
Place = Literal["inline", "process", "torchrun"]


class Compute(Section):
    num_threads: int = Field(gt=0)
    num_processes: int = Field(gt=0)
    where: dict[Step, Place]
    dask: str | None = Field(min_length=1)
    timeout_s: float = Field(gt=0)
    gpu_limit: Literal["auto", "always", "never"]

    @field_validator("where")
    @classmethod
    def _torchrun_trains(cls, where: dict[Step, Place]) -> dict[Step, Place]:
        if found := [step for step, place in where.items() if place == "torchrun" and step != "train"]:
            raise ValueError(
                f"torchrun trains, and {found[0]} goes over several processes in shards; write {found[0]}: process, "
                "and set rollout.num_shards"
            )
        return where

    @model_validator(mode="after")
    def _several_need_torchrun(self) -> "Compute":
        if self.num_processes > 1 and self.place_of("train") != "torchrun":
            raise ValueError(
                f"num_processes {self.num_processes} train only together; set where.train: torchrun, or lower it to 1"
            )
        return self

    def place_of(self, step: Step) -> Place:
        """Where the heavy work of a step runs: in the flow's own process, or in others that end with it."""
        return self.where.get(step, "inline")

    @property
    def determining(self) -> dict[str, int]:
        """What rounding depends on: neither where one process works does, nor for how long it may."""
        several = {"num_processes": self.num_processes} if self.num_processes > 1 else {}
        return {"num_threads": self.num_threads, **several}

    @property
    def hands_over(self) -> bool:
        """Whether processes besides the flow's go on from the weights of a round, and so find them on disk."""
        return self.dask is not None or bool(set(self.where.values()) - {"inline"})


class Tracking(Section):
    enabled: bool
    uri: str = Field(min_length=1)
    ui: str = Field(min_length=1)
    experiment: str = Field(min_length=1)


class Alarms(Section):
    """Beyond which value of a round's metric the alarm of that name rings; null: never."""

    cut_share: float | None = Field(ge=0, le=1)
    repetition: float | None = Field(ge=0, le=1)
    anchor_kl: float | None = Field(ge=0)
    zero_agreement: float | None = Field(ge=0, le=1)
    k_sem_over_floor: float | None
    audited_share: float | None = Field(0.0, ge=0, le=1)
    grad_norm: float | None = Field(gt=1)
    accuracy_drop: float | None = Field(0.1, ge=0, le=1)


class Methods(Section):
    """One block per method. The fields are the registry: a method is known by its field's name."""

    sft: SFT = SFT()  # pyright: ignore[reportCallIssue]
    grpo: GRPO = GRPO()  # pyright: ignore[reportCallIssue]
    opd: OPD = OPD()  # pyright: ignore[reportCallIssue]
    omniopd: OmniOPD = OmniOPD()  # pyright: ignore[reportCallIssue]
    fork: Fork = Fork()  # pyright: ignore[reportCallIssue]


class Arm(Section):
    method: str
    lr_of: str | None = Field(
        None, description="the arm whose sweep decides the learning rate: itself or another; else train.lr"
    )
    settings: dict[str, Any] = {}
    train: dict[str, Any] = {}
    rollout: dict[str, Any] = {}

    @model_validator(mode="after")
    def _one_rate(self) -> "Arm":
        if self.lr_of is not None and "lr" in self.train:
            raise ValueError("train.lr and lr_of both give a learning rate; delete one of the two")
        return self


class Sweep(Section):
    """The learning rates that arms with an lr_of try, and the seeds on which they do."""

    seeds: list[int] = Field(min_length=1)
    lrs: list[float] = Field(min_length=1)

    @field_validator("seeds")
    @classmethod
    def _seeds_once(cls, seeds: list[int]) -> list[int]:
        return _different(seeds)

    @field_validator("lrs")
    @classmethod
    def _ascending(cls, lrs: list[float]) -> list[float]:
        if sorted(set(lrs)) != lrs or lrs[0] <= 0:
            raise ValueError(f"{lrs} must ascend from above 0; mend the list")
        return lrs


class Comparison(Section):
    against: str | None = Field(description="the arm that the others are paired with, seed by seed")


class Params(Section):
    """The whole of params.yaml."""

    seeds: list[int] = Field(min_length=1)
    prompts: Prompts
    models: Models
    teacher: TeacherConfig
    rollout: Rollout
    train: Train
    evaluation: Evaluation
    benchmarks: Benchmarks
    compute: Compute
    tracking: Tracking
    alarms: Alarms
    methods: Methods
    sweep: Sweep
    comparison: Comparison
    arms: dict[str, Arm] = Field(min_length=1)
    ablations: dict[str, Arm]
    ablation_seeds: list[int]

    @field_validator("seeds", "ablation_seeds")
    @classmethod
    def _seeds_once(cls, seeds: list[int]) -> list[int]:
        return _different(seeds)

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
            if found := re.search(r"-\d+\.(lr|with|replaced)\b", name):
                raise ValueError(
                    f"{name!r} holds {found[0]!r}, as the folders of sweeps and variants do; choose another name"
                )
        return arms

    @property
    def every_arm(self) -> dict[str, Arm]:
        """The arms and the ablations by name."""
        return {**self.arms, **self.ablations}

    @property
    def runs(self) -> list[tuple[str, int]]:
        """(arm, seed) of everything that is compared."""
        return [(arm, seed) for arm in self.arms for seed in self.seeds] + [
            (arm, seed) for arm in self.ablations for seed in self.ablation_seeds
        ]

    def is_swept(self, arm: str) -> bool:
        """Whether the arm takes the learning rate that its own sweep finds best."""
        return self.every_arm[arm].lr_of == arm


def _different(seeds: list[int]) -> list[int]:
    if len(set(seeds)) != len(seeds) or any(seed < 0 for seed in seeds):
        raise ValueError(f"{seeds} must be different numbers, none negative; mend the list")
    return seeds


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
    alarms: Alarms

    def plan(self) -> Plan:
        """What the method must know of the run."""
        return Plan(
            num_samples=self.rollout.num_samples,
            max_new_tokens=self.rollout.max_new_tokens,
            steps_per_round=self.train.steps_per_round,
        )

    @property
    def has_sampler_scores(self) -> bool:
        """Whether trajectories keep their sampler's scores; the student did not sample what a teacher wrote."""
        return self.rollout.selection_entropy == "engine" and self.method.source == "student"

    def resolved(self) -> dict[str, Any]:
        """Every setting as plain values, for the record."""
        return {**self.model_dump(), "method": self.method.model_dump()}

    def determining(self) -> dict[str, Any]:
        """The settings that decide the bytes of the results: neither shards, tracking nor alarms do."""
        settings = self.resolved()
        del settings["tracking"], settings["alarms"], settings["models"]["trust_remote_code"]
        settings["rollout"] = self.rollout.determining
        settings["teacher"] = {name: settings["teacher"][name] for name in TeacherConfig.determining}
        settings["compute"] = self.compute.determining
        settings["evaluation"] = self.evaluation.determining
        return settings
