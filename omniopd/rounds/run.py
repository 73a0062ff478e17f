"""A run: its settings, its key, and the models that it holds in memory."""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from transformers import PreTrainedModel

from omniopd.config import RunConfig, make_importable, method_class
from omniopd.config.messages import validated
from omniopd.data.layout import Layout, RunLayout
from omniopd.data.prompts import Prompt, read_prompts
from omniopd.data.receipts import work_key
from omniopd.data.store import read_json
from omniopd.inputs.base import model_in_use
from omniopd.models.loading import (
    check_same_vocabulary,
    have_same_vocabulary,
    load_model,
    load_tokenizer,
)
from omniopd.models.text import TextDecoder
from omniopd.models.trust import allow_code
from omniopd.rounds.teacher_probe import read_found
from omniopd.sampling.responses import Writer, in_process, writer_for
from omniopd.sampling.samplers import Student, vllm_student
from omniopd.teachers import Teacher, kind_of
from omniopd.training import parallel
from omniopd.training.checkpoints import checkpoint_is_whole, load_student
from omniopd.training.trainer import Trainer

if TYPE_CHECKING:
    from omniopd.sampling.vllm_student import VllmStudent


@dataclass
class InMemory:
    """What `rounds.state` keeps of the student, each with the round before which it stands."""

    trainer: tuple[int, Trainer] | None = None
    student: tuple[int, Student] | None = None
    writer: tuple[int, Student] | None = None  # a copy that stays as it is while the student is trained
    digests: dict[int, str] = field(default_factory=dict)  # of the weights before each round trained here


@dataclass
class Run:
    """One (arm, seed) with everything its steps need, loaded when first asked for."""

    layout: Layout
    files: RunLayout
    config: RunConfig
    key: str  # names the settings and the inputs: what was made under it need not be made again
    in_memory: InMemory = field(default_factory=InMemory)
    lock: threading.RLock = field(default_factory=threading.RLock)
    _prompts: dict[str, Sequence[Prompt]] = field(default_factory=dict)

    @cached_property
    def tokenizer(self):
        return load_tokenizer(self.model_path("student"))

    @cached_property
    def decoder(self) -> TextDecoder:
        return TextDecoder(self.tokenizer)

    @cached_property
    def teacher(self) -> Teacher:
        kind = kind_of(self.config.teacher)
        return kind.load(self.model_path("teacher"), root=self.layout.root, found=read_found(self))

    @cached_property
    def engine(self) -> "VllmStudent":
        """The engine that writes the student's responses, which lives as long as the run."""
        settings = self.config.rollout
        return vllm_student()(
            self.model_path("student"),
            batch_size=settings.batch_size,
            precision=self.config.train.precision,
            settings=settings.engine_settings,
            lora=self.config.train.lora,
            scores=self.config.has_sampler_scores,
        )

    @contextmanager
    def writer(self, student: Student, *, batch_size: int | None = None) -> Iterator[Writer]:
        """What writes the student's responses: its own model, or the run's engine with its weights.

        batch_size: of samples in this process; by default that of rollouts. An engine batches by itself.
        """
        settings = self.config.rollout
        if settings.engine == "transformers":
            batch_size = batch_size or settings.batch_size
            yield in_process(student, batch_size=batch_size, scores=self.config.has_sampler_scores)
            return
        with self.lock:
            engine = self.engine
        try:
            with engine.holding(student) as sampler:
                yield writer_for(student, sampler)
        except BaseException:  # its state is unknown, so the next attempt starts another
            self.let_go_of("engine")
            raise

    def let_go(self) -> None:
        """Close what holds something open: a teacher's file of bought replies is then one file, whole."""
        self.let_go_of("teacher")
        self.let_go_of("engine")

    def let_go_of(self, name: Literal["teacher", "engine"]) -> None:
        """Close that, where it was opened."""
        close = getattr(self.__dict__.pop(name, None), "close", None)
        if close is not None:
            close()

    @cached_property
    def reference(self):
        """The frozen initial student, for a method that needs it; with an adapter the student is its own."""
        if "reference" not in self.config.method.needs or self.config.train.lora is not None:
            return None
        return self._frozen(self.model_path("student"))

    @cached_property
    def teacher_shares_tokens(self) -> bool:
        """Whether the teacher's tokens are the student's: as params say, or compared, or counted by the probe.

        A class of the user's own is thought to have the student's.
        """
        config = self.config.teacher
        if config.tokenizer != "auto":
            return config.tokenizer == "student"
        if kind_of(config).is_api:
            found = read_found(self)
            assert found is not None, "the flow probes an API before it asks"
            return found.shares_tokens
        return not config.is_local or have_same_vocabulary(
            self.tokenizer, load_tokenizer(self.model_path("teacher"))
        )

    @cached_property
    def teacher_model(self):
        """The teacher's own weights, for a method that reads its distributions.

        Raises:
            ModelError: its vocabulary is not the student's.
        """
        if "teacher_logits" not in self.config.method.needs:
            return None
        path = self.model_path("teacher")
        check_same_vocabulary(self.tokenizer, load_tokenizer(path), teacher_name=path)
        return self._frozen(path)

    def _frozen(self, path: str) -> PreTrainedModel:
        """A model that is read beside the student."""
        train = self.config.train
        precision = "float32" if train.shard else train.precision
        return load_model(path, precision=precision, trained=False).requires_grad_(False)

    def load_student(self, path: str) -> PreTrainedModel:
        """The student with the weights that lie there."""
        return load_student(self.model_path("student"), path, self.config.train, seed=self.config.seed)

    def readable_teacher(self) -> PreTrainedModel | None:
        """The teacher where its distributions can be read: weights at hand, and the student's vocabulary."""
        if not self.config.teacher.is_local:
            return None
        path = self.model_path("teacher")
        if not have_same_vocabulary(self.tokenizer, load_tokenizer(path)):
            return None
        return self._frozen(path)

    def model_path(self, role: str) -> str:
        """The directory or hub name of the student or the teacher that `base` recorded."""
        is_local = role == "student" or self.config.teacher.is_local
        return model_in_use(self.layout, self.config.seed, role, is_local=is_local)

    def prompts(self, split: str) -> Sequence[Prompt]:
        """The prompts of a split, read once: the run's key names their content."""
        if split not in self._prompts:
            self._prompts[split] = read_prompts(self.layout.prompts(self.config.seed, split))
        return self._prompts[split]

    def saved(self, round_: int) -> str | None:
        """Where the weights before that round lie on disk, if they do."""
        if round_ == 0:
            return self.model_path("student")
        if self.has_checkpoint(round_):
            return str(self.files.checkpoint(round_))
        state = self.files.state(round_)
        is_whole = checkpoint_is_whole(state, key=work_key(self.key, "state", round_))
        return str(state) if is_whole else None

    def has_checkpoint(self, round_: int) -> bool:
        """Whether the checkpoint before that round is there, to the byte."""
        return checkpoint_is_whole(
            self.files.checkpoint(round_), key=work_key(self.key, "checkpoint", round_)
        )

    @contextmanager
    def timed(self, stage: str, round_: int) -> Iterator[None]:
        """Add the seconds of the block to timings.jsonl."""
        start = time.perf_counter()
        yield
        if parallel.rank():
            return
        line = {"stage": stage, "round": round_, "seconds": round(time.perf_counter() - start, 4)}
        with self.lock, self.files.timings.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def open_run(run_dir: Path) -> Run:
    """The run in that directory; one object a process, so that its models stay in memory."""
    arm, _, seed = run_dir.name.partition(".")[0].rpartition("-")
    content = read_json(
        run_dir / "config.json",
        "key",
        "method",
        "settings",
        made_by=f"omniopd distill --arm {arm} --seed {seed}",
    )
    identity = (run_dir.resolve(), json.dumps(content))
    with _open_lock:
        if identity not in _open_runs:
            _open_runs.clear()  # one run at a time: its models are the memory
            _open_runs[identity] = _load(run_dir, content)
        return _open_runs[identity]


_open_runs: dict[tuple[Path, str], Run] = {}
_open_lock = threading.Lock()


def _load(run_dir: Path, content: dict[str, Any]) -> Run:
    settings, place = dict(content["settings"]), f"{run_dir / 'config.json'}: settings"
    make_importable(run_dir.parent.parent)
    settings["method"] = validated(method_class(content["method"]), settings.get("method"), f"{place}.method")
    config: RunConfig = validated(RunConfig, settings, place)
    layout = Layout(run_dir.parent.parent)
    allow_code(config.models.trust_remote_code)
    return Run(layout, RunLayout(run_dir), config, content["key"])
