"""Runs read back from MLflow: which there are, and the inputs and training data of each."""

import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlflow.entities import DatasetInput, Run
from mlflow.store.entities.paged_list import PagedList
from mlflow.utils import get_results_from_paginated_fn

from omniopd.config import Tracking
from omniopd.errors import DataError, TrackingError
from omniopd.tracking.records import CONTEXT, PROMPTS, ROUND, TRAINING, DataFile
from omniopd.tracking.store import STORE_ERRORS, client_of, database_of, no_answer

PAGE = 100  # results of one request
SHORT = 8  # characters of a run's id that people are shown
_OURS = "tags.`omniopd.key` != ''"


@dataclass(frozen=True)
class TrackedRun:
    """A run as MLflow has it.

    >>> tags = {"omniopd.arm": "sft", "omniopd.seed": "0"}
    >>> run = TrackedRun("0f3c5d7e90", "7", "sft-0", "FINISHED", "2026-01-31 12:00", tags, [], {0: []})
    >>> str(run), run.short_id, run.arm, run.seed
    ('run 0f3c5d7e (sft-0)', '0f3c5d7e', 'sft', 0)
    """

    run_id: str
    experiment_id: str
    name: str  # of its folder: arm-seed, and a suffix where settings were overridden
    status: str
    begun: str  # UTC
    tags: Mapping[str, str]
    prompts: Sequence[DataFile]
    rounds: Mapping[int, Sequence[DataFile]]  # the training data of each

    def __str__(self) -> str:
        return f"run {self.short_id} ({self.name})"

    @property
    def short_id(self) -> str:
        return self.run_id[:SHORT]

    @property
    def arm(self) -> str:
        return self.tags["omniopd.arm"]

    @property
    def seed(self) -> int:
        return int(self.tags["omniopd.seed"])


class Lookup:
    """Reads the MLflow that params name."""

    def __init__(self, tracking: Tracking):
        self._uri = tracking.uri
        self._experiment = tracking.experiment
        with self._answering():
            self._client = client_of(tracking.uri)

    def runs(self) -> list[TrackedRun]:
        """The runs of the experiment, the latest first."""
        with self._answering():
            experiment = self._client.get_experiment_by_name(self._experiment)
            return self._search([experiment.experiment_id], _OURS) if experiment else []

    def find(self, name: str) -> TrackedRun:
        """The run of that id or beginning of an id; or the latest run of the experiment with that name.

        Raises:
            DataError: there is none, or several ids begin so.
        """
        if named := [run for run in self.runs() if run.name == name]:
            return named[0]
        runs = []
        if re.fullmatch(r"[0-9a-f]+", name):
            with self._answering():
                experiments = [each.experiment_id for each in _all_pages(self._client.search_experiments)]
                runs = self._search(experiments, f"attributes.run_id LIKE '{name}%' AND {_OURS}")
        if len(runs) > 1:
            listed = ", ".join(f"{run.run_id[: max(SHORT, len(name) + 4)]} ({run.name})" for run in runs[:5])
            raise DataError(f"{name}: the ids of {len(runs)} runs begin so: {listed}; give more of it")
        if not runs:
            raise DataError(
                f"{name}: {self._uri} has no run of this id or name; `omniopd data list` shows the runs of the "
                f"experiment {self._experiment}"
            )
        return runs[0]

    def config(self, run: TrackedRun) -> dict[str, Any]:
        """The config.json of the run.

        Raises:
            DataError: MLflow does not have it.
        """
        with tempfile.TemporaryDirectory() as folder, self._answering():
            if "config.json" not in [entry.path for entry in self._client.list_artifacts(run.run_id)]:
                raise DataError(f"{run} has no config.json in MLflow; take another run")
            path = self._client.download_artifacts(run.run_id, "config.json", folder)
            return json.loads(Path(path).read_text(encoding="utf-8"))

    def checkpoints(self, run: TrackedRun) -> dict[int, str]:
        """The md5 of the weights of each checkpoint, by the round that it was made before."""
        query = f"source_run_id = '{run.run_id}'"
        with self._answering():
            models = _all_pages(self._client.search_logged_models, [run.experiment_id], query)
        return {int(model.params["round"]): model.tags["omniopd.weights"] for model in models}

    def _search(self, experiments: list[str], query: str) -> list[TrackedRun]:
        return [_tracked(run) for run in _all_pages(self._client.search_runs, experiments, query)]

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            database = database_of(self._uri)
            if database and not database.is_file():
                raise TrackingError(
                    f"{self._uri}: no such file; run where it is, or fix tracking.uri in params.yaml"
                )
            yield
        except STORE_ERRORS as error:
            raise TrackingError(
                f"{self._uri}: {no_answer(error)}; start it, or fix tracking.uri in params.yaml"
            ) from error


def _all_pages(search: Callable[..., PagedList[Any]], *args: Any) -> list[Any]:
    """What MLflow finds: it answers with a page at a time."""
    return get_results_from_paginated_fn(
        lambda size, token: search(*args, max_results=size, page_token=token), PAGE
    )


def _tracked(run: Run) -> TrackedRun:
    prompts: list[DataFile] = []
    rounds: dict[int, list[DataFile]] = {}
    for entry in run.inputs.dataset_inputs if run.inputs else ():
        tags = {tag.key: tag.value for tag in entry.tags}
        if tags.get(CONTEXT) == PROMPTS:
            prompts.append(_data_file(entry))
        elif tags.get(CONTEXT) == TRAINING:
            rounds.setdefault(int(tags[ROUND]), []).append(_data_file(entry))
    begun = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
    return TrackedRun(
        run_id=run.info.run_id,
        experiment_id=run.info.experiment_id,
        name=run.info.run_name or "",
        status=run.info.status,
        begun=begun.strftime("%Y-%m-%d %H:%M"),
        tags=run.data.tags,
        prompts=sorted(prompts, key=lambda file: file.name),
        rounds={r: sorted(rounds[r], key=lambda file: file.name) for r in sorted(rounds)},
    )


def _data_file(entry: DatasetInput) -> DataFile:
    dataset = entry.dataset
    num_rows = json.loads(dataset.profile or "{}").get("num_rows", 0)
    return DataFile(json.loads(dataset.source)["uri"], dataset.digest, num_rows)
