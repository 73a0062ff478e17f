"""`compute`: where the steps of a round run."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from omniopd.settings import Key, Section

Step = Literal["roll_out", "schedule", "verify", "train", "validate"]
Place = Literal["inline", "process", "torchrun"]


class Compute(Section):
    num_threads: int = Field(default=2, gt=0, description="torch threads per process; rounding depends on it")
    num_processes: Annotated[int, Key.IF_CHANGED] = Field(
        default=1, gt=0, description="processes that torchrun trains with; rounding depends on it"
    )
    where: Annotated[dict[Step, Place], Key.NEVER] = Field(
        default={},
        description="where roll_out, schedule, verify, train and validate run: inline (default), process or torchrun",
    )
    dask: Annotated[str | None, Key.NEVER] = Field(
        default=None,
        min_length=1,
        description="run shards on Dask: processes:N (started for the run) or a scheduler's address; null: threads",
    )
    timeout_s: Annotated[float, Key.NEVER] = Field(
        default=86400.0, gt=0, description="seconds after which a task is stopped and retried"
    )
    gpu_limit: Annotated[Literal["auto", "always", "never"], Key.NEVER] = Field(
        default="auto",
        description="whether heavy tasks take a slot of Prefect's limit `gpu`; auto: if torch finds a GPU",
    )

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
        """Where the heavy work of a step runs: in the flow's process, or in child processes."""
        return self.where.get(step, "inline")

    @property
    def hands_over(self) -> bool:
        """Whether other processes continue from the weights of a round, which are then handed over on disk."""
        return self.dask is not None or bool(set(self.where.values()) - {"inline"})
