"""`rollout` and `train`: what the student samples, and how it is trained."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from omniopd.config.schema.sampling import MinP, Stop, TopK, TopP
from omniopd.data.decoding import Decoding
from omniopd.settings import Key, Section

Precision = Literal["float32", "bfloat16"]


class Rollout(Section):
    engine: Annotated[Literal["transformers", "vllm"], Key.IF_CHANGED] = Field(
        default="transformers",
        description="transformers (in process) or vllm, which receives the weights every round",
    )
    engine_settings: dict[str, Any] = Field(
        default={}, description="engine arguments of vLLM, such as { gpu_memory_utilization: 0.4 }"
    )
    selection_entropy: Annotated[Literal["trainer", "engine"], Key.IF_CHANGED] = Field(
        default="trainer",
        description="entropies from the trainer's forward pass, or the engine's own (vLLM: lower bounds)",
    )
    num_prompts: int = Field(default=32, gt=0, description="prompts per round")
    num_samples: int = Field(default=1, gt=0, description="responses per prompt")
    max_new_tokens: int = Field(default=512, gt=0, description="longest response, in tokens")
    temperature: float = Field(default=1.0, gt=0, description="sampling temperature")
    top_p: TopP = 1.0
    top_k: TopK = None
    min_p: MinP = 0.0
    stop: Stop = Field(default=[])
    batch_size: int = Field(
        default=16,
        gt=0,
        description="sequences generated, scored and verified at once; rounding depends on it",
    )
    overlap: Annotated[int, Key.IF_CHANGED] = Field(
        default=0,
        ge=0,
        le=1,
        description="1: generate the next round while this one is verified and trained, with weights one round old",
    )
    num_shards: Annotated[int, Key.NEVER] = Field(
        default=1, gt=0, description="parallel tasks per round; changes no result"
    )

    @model_validator(mode="after")
    def _no_sleep_in_overlap(self) -> "Rollout":
        if self.overlap and self.engine_settings.get("enable_sleep_mode"):
            raise ValueError(
                "overlap 1 samples during training, and with enable_sleep_mode one of them waits for the other; "
                "set overlap: 0, or take enable_sleep_mode out of engine_settings"
            )
        return self

    @model_validator(mode="after")
    def _samples_stay_together(self) -> "Rollout":
        if self.batch_size % self.num_samples:
            raise ValueError(
                f"batch_size {self.batch_size} would split the {self.num_samples} samples of a prompt; "
                "make it a multiple of num_samples"
            )
        return self

    @property
    def decoding(self) -> Decoding:
        """How responses to train on are sampled."""
        return Decoding(self.temperature, self.top_p, self.top_k, self.min_p, tuple(self.stop))

    def determining(self) -> dict[str, Any]:
        """The settings that decide results; engine settings only if the engine is used."""
        settings = super().determining()
        if self.engine == "transformers":
            del settings["engine_settings"]
        return settings

    def weights_of(self, round_: int) -> int:
        """The round whose initial weights sample the responses of round `round_`."""
        return max(0, round_ - self.overlap)


class Lora(Section):
    """An adapter that is trained instead of the weights."""

    rank: int = Field(gt=0, description="rank of the adapter")
    alpha: float = Field(gt=0, description="its output is scaled by alpha / rank")
    targets: list[str] | Literal["all-linear"] = Field(description="names of the layers that it is added to")

    @field_validator("targets")
    @classmethod
    def _some(cls, targets: list[str] | str) -> list[str] | str:
        if not targets:
            raise ValueError("no layer is named; name some, such as [q_proj, v_proj], or write all-linear")
        return targets


class Train(Section):
    num_rounds: int = Field(default=30, gt=0, description="rounds of rollout, verification and training")
    lr: float = Field(default=1e-5, gt=0, description="learning rate of arms without lr_of")
    warmup_rounds: int = Field(default=5, ge=0, description="rounds over which the learning rate rises")
    max_grad_norm: float = Field(default=1.0, gt=0, description="gradients are clipped to this norm")
    weight_decay: float = Field(default=0.0, ge=0, description="of AdamW")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        default="linear",
        description="learning rate after the warm-up; linear and cosine reach 0 at the last step",
    )
    steps_per_round: int = Field(
        default=1,
        gt=0,
        description="optimiser steps, each on an equal part of the round; more than 1 for sft and grpo only",
    )
    batch_size: int = Field(
        default=8, gt=0, description="most sequences per forward pass; the gradient is that of the whole step"
    )
    batch_tokens: int | None = Field(
        default=None,
        gt=0,
        description="most tokens per forward pass, padding included; sequences are then grouped by length",
    )
    packing: bool = Field(
        default=False, description="concatenate sequences without padding; none attends to another"
    )
    precision: Precision = Field(default="float32", description="of matrix products; weights stay float32")
    gradient_checkpointing: bool = Field(
        default=False, description="recompute activations in the backward pass, to save memory"
    )
    lora: Lora | None = Field(
        default=None, description="null: train all weights; or { rank: 16, alpha: 32.0, targets: all-linear }"
    )
    shard: bool = Field(
        default=False,
        description="divide weights, gradients and optimiser among compute.num_processes (FSDP2)",
    )
    checkpoint_every: int = Field(default=10, gt=0, description="rounds between checkpoints")
    validate_every: int = Field(default=5, gt=0, description="rounds between validations")

    @model_validator(mode="after")
    def _shards_weights(self) -> "Train":
        if self.shard and self.lora is not None:
            raise ValueError(
                "shard divides trained weights among processes, and lora does not train them; set shard: false"
            )
        return self

    @property
    def num_steps(self) -> int:
        """Optimiser steps of a whole run."""
        return self.num_rounds * self.steps_per_round
