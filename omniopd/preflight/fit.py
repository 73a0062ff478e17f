"""Whether the machine has the memory to train and the disk for the checkpoints of the runs in params.yaml."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import PretrainedConfig

from omniopd.config import Params, RunConfig, resolve
from omniopd.data.layout import Layout
from omniopd.data.prompts import Prompt
from omniopd.errors import ConfigError
from omniopd.inputs.base import planned_chat, planned_config
from omniopd.models.precision import DTYPES
from omniopd.rounds.ledger import due_checkpoints
from omniopd.teachers import kind_of
from omniopd.training.memory import (
    MASTER,
    Memory,
    StepShape,
    count_parameters,
    size_of,
    training_memory,
)
from omniopd.training.step import ENTROPY

GIB, MIB = 2**30, 2**20
SURE = 0.75  # the estimate is within a quarter, so less memory than this share of it is an error
CGROUP = Path("/sys/fs/cgroup/memory.max")  # the limit of a container


@dataclass(frozen=True)
class Room:
    """The memory that training runs in."""

    name: str
    free: int  # bytes
    total: int


def room() -> Room:
    """The memory of the GPU if torch finds one, else of the container or the machine."""
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        return Room(f"the GPU ({torch.cuda.get_device_name()})", free, total)
    memory = psutil.virtual_memory()
    try:
        limit = int(CGROUP.read_text())
    except (OSError, ValueError):  # none, or "max"
        limit = memory.total
    return Room("this machine", min(memory.available, limit), min(memory.total, limit))


@dataclass(frozen=True)
class Fit:
    """The memory of one arm's training process, and how many such processes share the room."""

    arm: str
    place: str  # of the arm in params.yaml
    memory: Memory
    num_processes: int

    @property
    def needed(self) -> int:
        """Bytes, of all processes together."""
        return self.memory.peak * self.num_processes


def fits(
    params: Params,
    student: PretrainedConfig,
    teacher: PretrainedConfig | None,
    *,
    longest_prompt: int,
    arms: Sequence[str] = (),
) -> list[Fit]:
    """What each arm's training takes; teacher: of a local model.

    Raises:
        ModelError: a model's memory cannot be estimated.
    """
    configs = {arm: resolve(params, arm, params.seeds[0]) for arm in (arms or params.every_arm)}
    num_teacher = None if teacher is None else count_parameters(teacher)
    return [
        Fit(
            arm,
            params.key_of(arm),
            _memory_of(config, student, num_teacher, longest_prompt=longest_prompt),
            # Without GPUs, of which each process has one, all share the memory of the machine.
            num_processes=1 if torch.cuda.is_available() else config.compute.num_processes,
        )
        for arm, config in configs.items()
    ]


def _memory_of(
    config: RunConfig, student: PretrainedConfig, num_teacher: int | None, *, longest_prompt: int
) -> Memory:
    """Of one training process at the longest sequences; num_teacher: parameters of a local teacher."""
    train, rollout = config.train, config.rollout
    compute_bytes = DTYPES[train.precision].itemsize
    size = size_of(
        student, compute_bytes=compute_bytes, weight_bytes=MASTER if train.lora is None else compute_bytes
    )
    num_rows = rollout.num_prompts * rollout.num_samples // train.steps_per_round
    # A student with an adapter is its own reference.
    needs_copy = "reference" in config.method.needs and train.lora is None
    frozen = [size.num_parameters] if needs_copy else []
    if num_teacher is not None and _loads_teacher(config):
        frozen.append(num_teacher)
    seq_len = longest_prompt + rollout.max_new_tokens
    num_sequences = min(train.batch_size, num_rows)
    if train.batch_tokens is not None:
        num_sequences = min(num_sequences, -(-train.batch_tokens // seq_len))
    step = StepShape(
        num_sequences=num_sequences,
        seq_len=seq_len,
        response_len=rollout.max_new_tokens,
        scores=config.method.scores | ENTROPY,
        frozen_parameters=frozen,
        compute_bytes=compute_bytes,
        gradient_checkpointing=train.gradient_checkpointing,
        lora_parameters=None if train.lora is None else count_parameters(student, train.lora),
        num_sharing=config.compute.num_processes if train.shard else 1,
        accumulates=num_rows > num_sequences * config.compute.num_processes,
        num_copies=int(rollout.overlap and not config.compute.hands_over),
        on_gpu=torch.cuda.is_available(),
    )
    return training_memory(size, step)


def _loads_teacher(config: RunConfig) -> bool:
    """Whether the process that trains also loads the teacher's weights."""
    needs, compute = config.method.needs, config.compute
    if "teacher_logits" in needs:
        return True
    asks = "roll_out" if config.method.source == "teacher" else "verify" if "verdicts" in needs else None
    if not kind_of(config.teacher).in_process or asks is None:
        return False
    return compute.place_of(asks) == "inline" and compute.place_of("train") == "inline"


def planned_fits(
    params: Params, layout: Layout, prompts: Sequence[Prompt], *, arms: Sequence[str] = (), seed: int
) -> list[Fit]:
    """What each arm's training on the prompts takes.

    Raises:
        ModelError: a model's memory cannot be estimated.
    """
    student = planned_config(params, seed, layout, "student")
    teacher = planned_config(params, seed, layout, "teacher") if params.teacher.is_local else None
    chat = planned_chat(params, seed, layout, "student")
    longest = max(map(len, chat.encode([prompt.messages for prompt in prompts])))
    return fits(params, student, teacher, longest_prompt=longest, arms=arms)


def largest(fits: Sequence[Fit]) -> Fit:
    """The fit of the arm that takes most memory."""
    return max(fits, key=lambda fit: fit.needed)


def memory_warnings(most: Fit, where: Room) -> list[str]:
    """Where the arm that takes most memory may not fit.

    Raises:
        ConfigError: it cannot fit.
    """
    processes = f" in {most.num_processes} processes" if most.num_processes > 1 else ""
    line = (
        f"{most.place}: training takes about {size_text(most.needed)}{processes} at its longest sequences, and "
        f"{where.name} has {size_text(where.total)}, {size_text(where.free)} of it free; lower train.batch_size or "
        "rollout.max_new_tokens, set train.precision: bfloat16 or train.gradient_checkpointing: true, or take a "
        "smaller model"
    )
    if most.needed * SURE > where.total:
        raise ConfigError(line)
    return [line] if most.needed > where.free else []


def disk_warnings(params: Params, layout: Layout, student: PretrainedConfig) -> list[str]:
    """Where not all of the missing checkpoints fit on the disk.

    Raises:
        ConfigError: not even one of them fits.
    """
    sizes = []
    for arm, seed in params.runs:
        train = resolve(params, arm, seed).train
        paths = [layout.run(arm, seed).checkpoint(round_) for round_ in due_checkpoints(train)]
        num_missing = sum(not path.exists() for path in paths)
        if num_missing:
            num_trained = count_parameters(student, train.lora)
            sizes += [3 * MASTER * num_trained] * num_missing  # weights and the optimiser's two moments
    free, most = shutil.disk_usage(layout.root).free, max(sizes, default=0)
    line = (
        f"train.checkpoint_every: {len(sizes)} checkpoints of up to {size_text(most)} each are to come "
        f"({size_text(sum(sizes))}), and the disk of {layout.root} has {size_text(free)} free; raise "
        "checkpoint_every, run fewer arms or seeds, or free some space"
    )
    if min(sizes, default=0) > free:
        raise ConfigError(line)
    return [line] if sum(sizes) > free else []


def as_json(fits: Sequence[Fit], where: Room) -> dict[str, Any]:
    """The memory block of `omniopd plan --json`, in bytes."""
    return {
        "room": asdict(where),
        "arms": [
            {"arm": fit.arm, "processes": fit.num_processes, "one_process": asdict(fit.memory)}
            for fit in fits
        ],
        "fits": largest(fits).needed <= where.free,
    }


def size_text(count: float) -> str:
    """Bytes in a readable unit.

    >>> size_text(3 * 2**30), size_text(5_000_000)
    ('3.0 GiB', '5 MiB')
    """
    return f"{count / GIB:,.1f} GiB" if count >= GIB / 2 else f"{count / MIB:,.0f} MiB"
