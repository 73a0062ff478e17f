"""A run: its settings, its key, and the models that it holds in memory."""

import copy
import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from transformers import PreTrainedModel

from omniopd import __version__
from omniopd.config import Params, RunConfig, make_importable, method_class, resolve
from omniopd.config.messages import validated
from omniopd.data.layout import Layout, RunLayout
from omniopd.data.lock import without_readers
from omniopd.data.prompts import Prompt, read_prompts
from omniopd.data.receipts import work_key
from omniopd.data.store import file_md5, read_json, write_json
from omniopd.errors import DataError, RunError
from omniopd.inputs.base import model_in_use
from omniopd.models.loading import (
    check_same_vocabulary,
    have_same_vocabulary,
    load_model,
    load_tokenizer,
    weights_digest,
)
from omniopd.models.scoring import check_head, check_packing
from omniopd.models.text import TextDecoder
from omniopd.models.threads import use_threads
from omniopd.models.trust import allow_code
from omniopd.rounds.sweep import chosen_rate
from omniopd.rounds.teacher_probe import read_found
from omniopd.sampling.responses import Writer, in_process, writer_for
from omniopd.sampling.samplers import Student, vllm_student
from omniopd.teachers import Teacher, load_teacher
from omniopd.training import parallel
from omniopd.training.checkpoints import checkpoint_is_whole, load_optimizer, load_student, save_checkpoint
from omniopd.training.trainer import Trainer

if TYPE_CHECKING:
    from omniopd.sampling.vllm_student import VllmStudent


READERS_S = 30.0  # that a run waits for those who read the one that it replaces


@dataclass
class Run:
    """One (arm, seed) with everything its steps need, loaded when first asked for."""

    layout: Layout
    files: RunLayout
    config: RunConfig
    key: str  # names the settings and the inputs: what was made under it need not be made again
    _state: tuple[int, Trainer] | None = None
    _student: tuple[int, Student] | None = None
    _writer: tuple[int, Student] | None = None  # a student that stays as it was while it is trained
    digests: dict[int, str] = field(
        default_factory=dict
    )  # of the weights before each round that was trained here
    _prompts: dict[str, Sequence[Prompt]] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @cached_property
    def tokenizer(self):
        return load_tokenizer(self.model_path("student"))

    @cached_property
    def decoder(self) -> TextDecoder:
        return TextDecoder(self.tokenizer)

    @cached_property
    def teacher(self) -> Teacher:
        return load_teacher(
            self.config.teacher,
            path=self.model_path("teacher"),
            root=self.layout.root,
            found=read_found(self) if self.config.teacher.kind == "api" else None,
        )

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
        with self._lock:
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
        if config.kind == "api":
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

    def student_at(self, round_: int) -> Student:
        """The student before that round; without its optimiser where another process trains."""
        use_threads(self.config.compute.num_threads)
        with self._lock:
            if self._student is None or self._student[0] != round_:
                self._student = None
                is_trained_here = not self.config.compute.hands_over or (
                    self._state and self._state[0] == round_
                )
                path = None if is_trained_here else self.saved(round_)
                model = self.trainer_at(round_).model if path is None else self.load_student(path)
                self._student = (round_, Student(model, self.tokenizer, weights_digest(model)))
            return self._student[1]

    def writer_of(self, round_: int) -> Student:
        """The student that writes the responses of that round: with `rollout.overlap` as it stood one round earlier."""
        before = self.config.rollout.weights_of(round_)
        with self._lock:
            if not self.config.rollout.overlap:
                return self.student_at(before)
            if self._writer is None or self._writer[0] != before:
                self._writer = None
                student = self.student_at(before)
                is_trained_here = self._state is not None and student.model is self._state[1].model
                self._writer = (
                    before,
                    replace(student, model=copy.deepcopy(student.model)) if is_trained_here else student,
                )
            return self._writer[1]

    def keep_writer_of(self, round_: int) -> None:
        """Leave the writer of that round as it is while the round before is trained on, if it writes here."""
        is_needed = self.config.rollout.overlap and round_ < self.config.train.num_rounds
        if is_needed and not self.config.compute.hands_over:
            self.writer_of(round_)

    def trainer_at(self, round_: int) -> Trainer:
        """The trainer before that round: the one in memory, or rebuilt from the files.

        A state is a function of the last whole checkpoint and the rounds recorded since, so any process
        can rebuild it, and a checkpoint need not be written every round.
        """
        use_threads(self.config.compute.num_threads)
        with self._lock:
            if self._state is None or self._state[0] != round_:
                self._state = self._student = None
                self._state = (round_, self._rebuild(round_))
            return self._state[1]

    def advance(self, round_: int, trainer: Trainer) -> None:
        """Keep the trainer as the state before `round_`: in memory, and on disk where other processes go on from it."""
        with self._lock:
            self._state, self._student = (round_, trainer), None
        if self.config.compute.hands_over:
            self.hand_over(round_, trainer)

    def hand_over(self, round_: int, trainer: Trainer) -> None:
        """Put the state before `round_` where other processes find it."""
        key = work_key(self.key, "state", round_)
        base = self.model_path("student")
        save_checkpoint(self.files.state(round_), trainer, self.tokenizer, key=key, base=base)

    def forget(self) -> None:
        """Drop the state in memory, as after a step that failed half-way."""
        with self._lock:
            self._state = self._student = None

    def _rebuild(self, round_: int) -> Trainer:
        from omniopd.rounds.steps import replay  # the two call each other

        start, path = next((r, path) for r in range(round_, -1, -1) if (path := self.saved(r)) is not None)
        model, frozen = self.load_student(path), {"reference": self.reference, "teacher": self.teacher_model}
        for own in (model, *frozen.values()):
            if own is not None:
                check_head(own)
                if self.config.train.packing:
                    check_packing(own)
        trainer = Trainer(model, self.config.train, **frozen)
        if start:
            load_optimizer(Path(path), trainer)
        for earlier in range(start, round_):
            replay(self, earlier, trainer)
        return trainer

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
        with self._lock, self.files.timings.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def start_run(
    params: Params, arm: str, seed: int, layout: Layout, *, swept_lr: float | None = None, variant: str = ""
) -> Path:
    """Make or find the run directory of (arm, seed), of one learning rate of its sweep, or of a variant; return it.

    A directory that holds a run of other settings or inputs is set aside, beside it, never overwritten.
    """
    if swept_lr is None:
        files = layout.run(arm, seed, variant)
        config = resolve(params, arm, seed, lr=chosen_rate(params, arm, layout))
    else:
        files = layout.sweep_run(arm, seed, swept_lr)
        config = _in_sweep(resolve(params, arm, seed, lr=swept_lr))
    inputs = _input_digests(config, layout)
    key = work_key(config.determining(), inputs, __version__)
    found = _key_in(files.config)
    if found is not None and found != key:
        aside = files.root.with_name(f"{files.root.name}.replaced-{found}")
        for n in count(2):
            if not aside.exists():
                break
            aside = files.root.with_name(f"{files.root.name}.replaced-{found}-{n}")
        with without_readers(files.root, within_s=READERS_S) as is_held:
            if not is_held:
                raise RunError(
                    f"{files.root}: is being read (`omniopd evaluate` or `omniopd report`), and would be replaced by "
                    "a run of other settings or inputs; wait for that to end, then run the same command"
                )
            files.root.rename(aside)
    for folder in (files.root, *files.datasets):
        folder.mkdir(parents=True, exist_ok=True)
    content = {"key": key, "inputs": inputs, "method": config.method_name, "settings": config.resolved()}
    if not files.config.exists() or read_json(files.config) != content:
        write_json(files.config, content)
    return files.root


def _in_sweep(config: RunConfig) -> RunConfig:
    """The same, tracked in an experiment of its own: what a sweep tries is no arm of the comparison."""
    experiment = f"{config.tracking.experiment}-sweep"
    return config.model_copy(
        update={"tracking": config.tracking.model_copy(update={"experiment": experiment})}
    )


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


def _input_digests(config: RunConfig, layout: Layout) -> dict[str, str]:
    splits = {split: _made_md5(layout.prompts(config.seed, split)) for split in ("train", "validation")}
    models = read_json(
        layout.models(config.seed) / "models.json",
        "student",
        "teacher",
        made_by=f"omniopd base --seed {config.seed}",
    )
    return splits | {role: models[role]["digest"] for role in ("student", "teacher")}


def _made_md5(path: Path) -> str:
    """md5 of a file that an earlier stage made."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; run `omniopd prepare` first (dvc repro does)")
    return file_md5(path)


def _key_in(config: Path) -> str | None:
    try:
        return str(read_json(config, "key")["key"])
    except DataError:
        return None
