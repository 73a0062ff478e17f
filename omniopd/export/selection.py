"""A checkpoint that is exported: what both cards say about its run."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from omniopd.config import differing, single_run, with_paths, without_machine
from omniopd.data.sources import Source, source_of
from omniopd.export.names import is_on_hub, public_name, without_paths
from omniopd.rounds.ledger import recorded_metrics
from omniopd.rounds.run import Run


@dataclass(frozen=True)
class Selection:
    """The checkpoint of a run after `round` rounds, with an adapter merged or not, under the name it is published as.

    Its texts hold no folder of this machine.
    """

    run: Run
    round: int
    title: str  # the hub name, or that of the folder
    merged: bool = False

    @property
    def is_adapter(self) -> bool:
        """Whether the exported weights are an adapter alone."""
        return self.run.config.train.lora is not None and not self.merged

    @property
    def is_last(self) -> bool:
        """Whether it is the checkpoint of the last round, which `omniopd evaluate` measures."""
        return self.round == self.run.config.train.num_rounds

    @cached_property
    def student(self) -> str:
        """The original model."""
        return self.public(self.run.model_path("student"))

    @property
    def hub_student(self) -> str | None:
        """The original model if it is on the hub."""
        path = self.run.model_path("student")
        return self.student if is_on_hub(path, self.run.layout.root) else None

    @property
    def teacher(self) -> str | None:
        """The teacher; None for a method that asks none."""
        method = self.run.config.method
        asks = method.source == "teacher" or method.needs & {"verdicts", "teacher_logits"}
        return self.public(self.run.config.teacher.model) if asks else None

    @property
    def prompts(self) -> str:
        """The source of the prompts, with its subset and split if it is on the hub."""
        return str(self._source) if self.hub_prompts else self.public(self._source.name)

    @property
    def hub_prompts(self) -> str | None:
        """The dataset of the prompts if it is on the hub."""
        return self._source.name if self._source.kind == "hub" else None

    @cached_property
    def _source(self) -> Source:
        prompts = self.run.config.prompts
        return source_of(prompts.source, self.run.layout.root, subset=prompts.subset, split=prompts.split)

    def metrics(self) -> list[dict[str, float]]:
        """The metrics of the rounds that trained the checkpoint."""
        return recorded_metrics(self.run.files.root, range(self.round))

    def params(self) -> dict[str, Any]:
        """A params.yaml of this run alone, with every setting that decides its result."""
        config = self.run.config
        return single_run(config, self._public_settings(without_machine(config.model_dump())))

    def differing(self) -> dict[str, Any]:
        """The settings that differ from their defaults."""
        return self._public_settings(differing(self.run.config))

    def public(self, name: str) -> str:
        """A model or file without the folders of this machine."""
        return public_name(name, self.run.layout.root)

    def _public_settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        return without_paths(with_paths(settings, self.public), self.run.layout.root)
