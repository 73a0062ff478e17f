"""`compute`: where the steps of a round run."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from omniopd.config.schema.section import Section

Step = Literal["roll_out", "schedule", "verify", "train", "validate"]


Place = Literal["inline", "process", "torchrun"]


class Compute(Section):
    num_threads: int = Field(default=2, gt=0)
    num_processes: int = Field(default=1, gt=0)
    where: dict[Step, Place] = Field(default={})
    dask: str | None = Field(default=None, min_length=1)
    timeout_s: float = Field(default=86400.0, gt=0)
    gpu_limit: Literal["auto", "always", "never"] = "auto"

    @field_validator("where")
    @classmethod
    def _torchrun_trains(cls, where: dict[Step, Place]) -> dict[Step, Place]:
        if elsewhere := [step for step, place in where.items() if place == "torchrun" and step != "train"]:
            raise ValueError(
                f"torchrun only trains; write {elsewhere[0]}: process, and set rollout.num_shards"
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
