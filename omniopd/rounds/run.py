"""A run: its settings, its key, its files, and the models that it has in memory."""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from omniopd.config import RunConfig, make_importable, method_class
from omniopd.config.messages import validated
from omniopd.data.conversation import Conversation
from omniopd.data.layout import Layout, RunLayout
from omniopd.data.prompts import Prompt, read_prompts
from omniopd.data.receipts import work_key
from omniopd.data.store import read_json
from omniopd.inputs.base import model_in_use
from omniopd.models.trust import allow_code
from omniopd.teachers.briefing import Briefing, briefing_of
from omniopd.training import parallel
from omniopd.training.checkpoints import checkpoint_is_whole


@dataclass
class Run:
    """One (arm, seed) as its directory describes it. All state is on disk, so any process can continue it."""

    layout: Layout
    files: RunLayout
    config: RunConfig
    key: str  # hash of the settings and the inputs: work recorded under it is not repeated
    _prompts: dict[str, Sequence[Prompt]] = field(default_factory=dict)
    _timings_lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        from omniopd.rounds.pool import ModelPool

        self.models = ModelPool(self)  # made here, since threads share them and their lock

    def model_path(self, role: str) -> str:
        """The directory or hub name of the student or the teacher that `base` recorded."""
        is_local = role == "student" or self.config.teacher.is_local
        return model_in_use(self.layout, self.config.seed, role, is_local=is_local)

    def prompts(self, split: str) -> Sequence[Prompt]:
        """The prompts of a split, read once: the run's key names their content."""
        if split not in self._prompts:
            self._prompts[split] = read_prompts(self.layout.prompts(self.config.seed, split))
        return self._prompts[split]

    @cached_property
    def briefing(self) -> Briefing:
        """The teacher's context and hint."""
        return briefing_of(self.config.teacher)

    @cached_property
    def _teacher_prompts(self) -> dict[str, Conversation]:
        return {prompt.id: self.briefing.messages(prompt) for prompt in self.prompts("train")}

    def teacher_prompt(self, prompt_id: str) -> Conversation:
        """A training prompt as the teacher reads it."""
        return self._teacher_prompts[prompt_id]

    def saved(self, round_: int) -> str | None:
        """Path of the weights before that round, if they are on disk."""
        if round_ == 0:
            return self.model_path("student")
        if self.has_checkpoint(round_):
            return str(self.files.checkpoint(round_))
        state = self.files.state(round_)
        is_whole = checkpoint_is_whole(state, key=work_key(self.key, "state", round_))
        return str(state) if is_whole else None

    def has_checkpoint(self, round_: int) -> bool:
        """Whether the checkpoint before that round exists and matches its receipt."""
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
        with self._timings_lock, self.files.timings.open("a", encoding="utf-8") as file:
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
