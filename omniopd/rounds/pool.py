"""The models of a run in this process's memory, each loaded when first used."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from transformers import PreTrainedModel

from omniopd.data.rows import Row
from omniopd.methods import Annotated
from omniopd.models.chat import Chat
from omniopd.models.loading import (
    check_same_vocabulary,
    have_same_vocabulary,
    load_chat,
    load_model,
)
from omniopd.models.text import TextDecoder
from omniopd.rounds.run import Run
from omniopd.rounds.teacher_probe import recorded_probe
from omniopd.sampling.responses import Writer, in_process, writer_for
from omniopd.sampling.samplers import Student, vllm_student
from omniopd.teachers import Teacher, kind_of
from omniopd.training.checkpoints import load_student
from omniopd.training.trainer import Trainer

if TYPE_CHECKING:
    from omniopd.sampling.vllm_student import VllmStudent


@dataclass
class RoundStates:
    """The student between rounds, which `rounds.state` keeps: each with the round before which it has its weights."""

    trainer: tuple[int, Trainer] | None = None
    student: tuple[int, Student] | None = None
    # With `rollout.overlap`, a copy that training leaves alone.
    rollout_student: tuple[int, Student] | None = None
    digests: dict[int, str] = field(default_factory=dict)  # of the weights before each round trained here


@dataclass
class ModelPool:
    """The teacher, the engine and the frozen models of a run, each loaded when first used, and its round states."""

    run: Run
    lock: threading.RLock = field(default_factory=threading.RLock)
    states: RoundStates = field(default_factory=RoundStates)

    @cached_property
    def chat(self) -> Chat:
        return load_chat(self.run.model_path("student"), self.run.config.models.chat_template_kwargs)

    @cached_property
    def decoder(self) -> TextDecoder:
        return TextDecoder(self.chat)

    @cached_property
    def teacher(self) -> Teacher:
        run = self.run
        kind = kind_of(run.config.teacher)
        return kind.load(run.model_path("teacher"), root=run.layout.root, probed=recorded_probe(run))

    @cached_property
    def engine(self) -> "VllmStudent":
        """The vLLM engine that samples from the student; closed with the run."""
        config = self.run.config
        return vllm_student()(
            self.run.model_path("student"),
            batch_size=config.rollout.batch_size,
            precision=config.train.precision,
            settings=config.rollout.engine_settings,
            lora=config.train.lora,
            scores=config.has_sampler_scores,
        )

    @contextmanager
    def writer(self, student: Student, *, batch_size: int | None = None) -> Iterator[Writer]:
        """What samples the student's responses: its own model, or the engine with its weights.

        batch_size: of the in-process sampler (default: rollout.batch_size); the engine batches by itself.
        """
        config = self.run.config
        if config.rollout.engine == "transformers":
            batch_size = batch_size or config.rollout.batch_size
            yield in_process(student, batch_size=batch_size, scores=config.has_sampler_scores)
            return
        with self.lock:
            engine = self.engine
        try:
            with engine.synced_to(student) as sampler:
                yield writer_for(student, sampler)
        except BaseException:  # its state is unknown, so the next attempt starts another
            self.release("engine")
            raise

    def release(self, *names: Literal["teacher", "engine"]) -> None:
        """Close these and forget them, if they were loaded. Closing a teacher completes its file of replies."""
        for name in names:
            close = getattr(self.__dict__.pop(name, None), "close", None)
            if close is not None:
                close()

    @cached_property
    def reference(self) -> PreTrainedModel | None:
        """The frozen initial student, if the method needs it; a student with an adapter is its own reference."""
        config = self.run.config
        if "reference" not in config.method.needs or config.train.lora is not None:
            return None
        return self._frozen(self.run.model_path("student"))

    @cached_property
    def teacher_shares_tokens(self) -> bool:
        """Whether the teacher has the student's tokens: by params.yaml, by comparison, or by the API's probe.

        A teacher class from outside is taken to share them.
        """
        config = self.run.config.teacher
        if config.tokenizer != "auto":
            return config.tokenizer == "student"
        if kind_of(config).is_api:
            probe = recorded_probe(self.run)
            assert probe is not None, "the flow probes an API before it asks"
            return probe.shares_tokens
        return not config.is_local or self.teacher_is_readable

    @cached_property
    def teacher_model(self) -> PreTrainedModel | None:
        """The teacher's weights, if the method reads its distributions.

        Raises:
            ModelError: its vocabulary is not the student's.
        """
        if "teacher_logits" not in self.run.config.method.needs:
            return None
        path = self.run.model_path("teacher")
        check_same_vocabulary(self.chat.tokenizer, self.teacher_chat.tokenizer, teacher_name=path)
        return self._frozen(path)

    @cached_property
    def teacher_chat(self) -> Chat:
        return load_chat(self.run.model_path("teacher"), self.run.config.teacher.chat_template_kwargs)

    def with_teacher_prompts(self, rows: Sequence[Row], annotated: Sequence[Annotated]) -> Sequence[Row]:
        """The rows with the prompts that the teacher reads, if the method reads its distributions."""
        if "teacher_logits" not in self.run.config.method.needs:
            return rows
        prompt_of = {
            item.trajectory.id: self.run.teacher_prompt(item.trajectory.prompt_id) for item in annotated
        }
        prompt_ids = self.teacher_chat.encode([prompt_of[row.id] for row in rows])
        return [replace(row, teacher_prompt_ids=ids) for row, ids in zip(rows, prompt_ids, strict=True)]

    def load_student(self, path: str) -> PreTrainedModel:
        """A new copy of the student with the weights in that directory."""
        config = self.run.config
        return load_student(self.run.model_path("student"), path, config.train, seed=config.seed)

    @cached_property
    def teacher_is_readable(self) -> bool:
        """Whether the teacher's weights are local and it has the student's vocabulary."""
        return self.run.config.teacher.is_local and have_same_vocabulary(
            self.chat.tokenizer, self.teacher_chat.tokenizer
        )

    def readable_teacher(self) -> PreTrainedModel | None:
        """A new copy of the teacher, if it is readable."""
        return self._frozen(self.run.model_path("teacher")) if self.teacher_is_readable else None

    def _frozen(self, path: str) -> PreTrainedModel:
        train = self.run.config.train
        precision = "float32" if train.shard else train.precision
        return load_model(path, precision=precision, trained=False).requires_grad_(False)
