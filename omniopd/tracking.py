"""MLflow: one run per (arm, seed, key), its metrics, dataset digests and checkpoints.

The files of the run are the truth; MLflow is told of them. If it fails the run goes on, says so once,
and what was missed is sent when MLflow answers again, in this process or the next.
"""

import logging
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    Experiment,
    InputTag,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Param,
)
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from omniopd.config import RunConfig

log = logging.getLogger(__name__)
T = TypeVar("T")

# What a store that is down, locked, full or misconfigured raises.
FAILURES = (MlflowException, SQLAlchemyError, OSError)
MAX_METRICS = 1000  # of one log_batch
EVERY_S = 5.0  # between two messages while a run is going
RETRY_S = 30.0  # after a failure
MARKER = "round"  # the metric whose last step says what MLflow already has


@dataclass(frozen=True)
class RoundRecord:
    """What MLflow is told of a completed round; `files` are md5 digests by path.

    >>> RoundRecord(7, {"loss": 0.9}, {"trajectories/round-0007.parquet": "900150983cd24fb0d6963f7d28e17f72"}).round
    7
    """

    round: int
    metrics: Mapping[str, float]
    files: Mapping[str, str]


class Tracker:
    """Tells MLflow of one run. Every call is safe: a failure is noted, never raised."""

    def __init__(self, config: RunConfig, *, key: str, root: Path, warn: Callable[[str], None]):
        self._config = config
        self._key = key
        self._root = root
        self._warn = warn
        self._client: MlflowClient | None = None
        self._experiment_id = ""
        self._run_id = ""
        self._pending: list[RoundRecord] = []
        self._checkpoints: list[tuple[int, Path, str]] = []
        self._next_try = 0.0
        self._has_warned = False
        self._end_time: int | None = None  # of a run that had ended, until a round is added to it

    @property
    def run_id(self) -> str:
        """MLflow's id of the run; empty where tracking is off or MLflow has never answered."""
        return self._run_id

    @property
    def page(self) -> str:
        """Where MLflow shows the run; empty where `run_id` is."""
        uri = self._config.tracking.uri
        address = uri if uri.startswith("http") else self._config.tracking.ui
        place = f"#/experiments/{self._experiment_id}/runs/{self._run_id}"
        return f"{address.rstrip('/')}/{place}" if self._run_id else ""

    @property
    def has_failed(self) -> bool:
        """Whether MLflow has failed to answer this tracker, which has warned of it."""
        return self._has_warned

    def round_done(self, record: RoundRecord) -> None:
        """Tell of a completed round, at once or with the next message."""
        self._pending.append(record)
        self._flush()

    def checkpoint_done(self, round_: int, path: Path, digest: str) -> None:
        """Log the checkpoint before that round as a LoggedModel, once."""
        self._checkpoints.append((round_, path, digest))

    def finish(self) -> None:
        """Send what is pending, and end the run."""
        self._next_try = 0.0
        self._flush()
        self._safely(
            lambda client: client.set_terminated(self._run_id, status="FINISHED", end_time=self._end_time)
        )

    def log_heldout(self, metrics: Mapping[str, float], *, checkpoint: Path, digest: str) -> None:
        """Log final measurements on the run and on the model that they belong to."""

        def send(client: MlflowClient) -> None:
            model_id = self._model_id(client, self._config.train.num_rounds, checkpoint, digest)
            now, step = _now_ms(), self._config.train.num_rounds
            run_metrics = [Metric(name, value, now, step) for name, value in metrics.items()]
            client.log_batch(self._run_id, metrics=run_metrics)
            for name, value in metrics.items():
                client.log_metric(self._run_id, name, value, step=step, model_id=model_id)

        self._next_try = 0.0
        self._safely(send)

    def tag(self, tags: Mapping[str, str]) -> None:
        """Set tags on the run."""

        def send(client: MlflowClient) -> None:
            for name, value in tags.items():
                client.set_tag(self._run_id, name, value)

        self._next_try = 0.0
        self._safely(send)

    def register_best(self, round_: int, path: Path, digest: str, *, accuracy: float) -> None:
        """Register the checkpoint before that round as the arm's model, and give its version the alias `best`.

        The model is called after the experiment and the arm; one version a set of weights.
        """
        name = f"{self._config.tracking.experiment}.{self._config.arm}"
        tags = {
            "omniopd.weights": digest,
            "omniopd.key": self._key,
            "omniopd.seed": str(self._config.seed),
            "omniopd.round": str(round_),
            "omniopd.validation_greedy": f"{accuracy:g}",
        }

        def send(client: MlflowClient) -> None:
            model_id = self._model_id(client, round_, path, digest)
            if not client.search_registered_models(f"name = '{name}'"):
                client.create_registered_model(name)
            versions = client.search_model_versions(
                f"name = '{name}' AND tags.`omniopd.weights` = '{digest}'"
            )
            version = (
                versions[0]
                if versions
                else client.create_model_version(
                    name, source=path.resolve().as_uri(), run_id=self._run_id, model_id=model_id, tags=tags
                )
            )
            client.set_registered_model_alias(name, "best", version.version)

        self._next_try = 0.0
        self._safely(send)

    def _flush(self) -> None:
        if not (self._pending or self._checkpoints) or time.monotonic() < self._next_try:
            return
        self._next_try = time.monotonic() + EVERY_S
        self._safely(self._send)

    def _send(self, client: MlflowClient) -> None:
        done = self._last_round(client)
        records = [record for record in self._pending if record.round > done]
        if records:
            self._end_time = None
        datasets = [dataset for record in records for dataset in self._datasets(record)]
        for batch in _runs(datasets, 200):
            client.log_inputs(self._run_id, datasets=batch)
        now = _now_ms()
        per_record = 1 + max((len(record.metrics) for record in records), default=0)
        # Whole rounds in a batch: the marker lands with its round's metrics or not at all.
        for group in _runs(records, max(1, MAX_METRICS // per_record)):
            metrics = [
                Metric(name, value, now, record.round)
                for record in group
                for name, value in [*record.metrics.items(), (MARKER, float(record.round))]
            ]
            client.log_batch(self._run_id, metrics=metrics)
        self._pending.clear()
        while self._checkpoints:
            self._model_id(client, *self._checkpoints[0])
            self._checkpoints.pop(0)

    def _safely(self, call: Callable[[MlflowClient], T]) -> T | None:
        if not self._config.tracking.enabled:
            return None
        try:
            return call(self._connected())
        except FAILURES as error:
            self._next_try = time.monotonic() + RETRY_S
            log.warning("MLflow failed", exc_info=True)
            if not self._has_warned:
                self._has_warned = True
                first = str(error).strip().splitlines()[0]
                self._warn(
                    f"MLflow does not answer ({first[:160]}). The run goes on: its metrics are in metrics.jsonl "
                    "and are sent when MLflow is back."
                )
            return None

    def _connected(self) -> MlflowClient:
        if self._client is not None and self._run_id:
            return self._client
        client = MlflowClient(self._config.tracking.uri)
        experiment = client.get_experiment_by_name(self._config.tracking.experiment)
        self._experiment_id = (
            experiment.experiment_id
            if isinstance(experiment, Experiment)
            else client.create_experiment(self._config.tracking.experiment)
        )
        self._run_id = self._find_or_create(client)
        self._client = client
        return client

    def _find_or_create(self, client: MlflowClient) -> str:
        config = self._config
        known = {"omniopd.key": self._key, "omniopd.arm": config.arm, "omniopd.seed": str(config.seed)}
        query = " and ".join(f"tags.`{name}` = '{value}'" for name, value in known.items())
        found = client.search_runs([self._experiment_id], query, max_results=1)
        if found:
            if found[0].info.status == "FINISHED":
                self._end_time = found[0].info.end_time
            client.update_run(found[0].info.run_id, status="RUNNING")
            return found[0].info.run_id
        tags = {**known, **_git_tags(self._root), "omniopd.method": config.method_name}
        run = client.create_run(self._experiment_id, tags=tags, run_name=f"{config.arm}-{config.seed}")
        params = [Param(name, str(value)) for name, value in _flat(config.resolved())]
        for batch in _runs(params, 100):
            client.log_batch(run.info.run_id, params=batch)
        return run.info.run_id

    def _last_round(self, client: MlflowClient) -> int:
        history = client.get_metric_history(self._run_id, MARKER)
        return max((metric.step for metric in history), default=-1)

    def _datasets(self, record: RoundRecord) -> list[DatasetInput]:
        tags = [InputTag("mlflow.data.context", "training"), InputTag("round", str(record.round))]
        return [
            DatasetInput(Dataset(Path(name).parent.name, digest, "local", f'{{"uri": "{name}"}}'), tags)
            for name, digest in record.files.items()
        ]

    def _model_id(self, client: MlflowClient, round_: int, path: Path, digest: str) -> str:
        name = f"{self._config.arm}-{self._config.seed}-round-{round_:04d}"
        query = f"name = '{name}' AND tags.`omniopd.weights` = '{digest}'"
        found = client.search_logged_models([self._experiment_id], query)
        if found:
            return found[0].model_id
        model = client.create_logged_model(
            self._experiment_id,
            name=name,
            source_run_id=self._run_id,
            tags={"omniopd.weights": digest, "omniopd.path": path.as_posix(), "omniopd.key": self._key},
            params={"arm": self._config.arm, "seed": str(self._config.seed), "round": str(round_)},
            model_type="checkpoint",
        )
        client.log_outputs(self._run_id, [LoggedModelOutput(model.model_id, step=round_)])
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        return model.model_id


def _flat(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            pairs += _flat(value, f"{prefix}{name}.")
        else:
            pairs.append((prefix + name, value))
    return pairs


def _git_tags(root: Path) -> dict[str, str]:
    commit = _git(root, "rev-parse", "HEAD")
    if not commit:
        return {}
    changed = bool(_git(root, "status", "--porcelain", "--untracked-files=no"))
    return {"mlflow.source.git.commit": commit, "omniopd.git.changed": str(changed).lower()}


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _runs(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[first : first + size] for first in range(0, len(items), size)]


def _now_ms() -> int:
    return int(time.time() * 1000)
