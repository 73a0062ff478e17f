"""`rollout` and `train`: what the student samples, and how it is trained."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from omniopd.config.schema.section import Section

Precision = Literal["float32", "bfloat16"]


class Rollout(Section):
    engine: Literal["transformers", "vllm"] = "transformers"
    engine_settings: dict[str, Any] = Field(default={})
    selection_entropy: Literal["trainer", "engine"] = "trainer"
    num_prompts: int = Field(default=32, gt=0)
    num_samples: int = Field(default=1, gt=0)
    max_new_tokens: int = Field(default=512, gt=0)
    temperature: float = Field(default=1.0, gt=0)
    batch_size: int = Field(default=16, gt=0)
    overlap: int = Field(default=0, ge=0, le=1)
    num_shards: int = Field(default=1, gt=0)

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
    num_rounds: int = Field(default=30, gt=0)
    lr: float = Field(default=1e-5, gt=0)
    warmup_rounds: int = Field(default=5, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    steps_per_round: int = Field(default=1, gt=0)
    batch_size: int = Field(default=8, gt=0)
    batch_tokens: int | None = Field(default=None, gt=0)
    packing: bool = False
    precision: Precision = "float32"
    gradient_checkpointing: bool = False
    lora: Lora | None = None
    shard: bool = False
    checkpoint_every: int = Field(default=10, gt=0)
    validate_every: int = Field(default=5, gt=0)

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
