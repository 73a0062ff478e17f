"""One MLflow run per (arm, seed, key): its metrics, dataset digests and checkpoints.

The run's files are the source of truth. If MLflow fails, the run continues and warns once; what MLflow missed is sent
when it answers again, in this process or the next.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Literal

from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.utils import chunk_list

from omniopd.config import RunConfig
from omniopd.errors import TrackingError
from omniopd.tracking.connection import (
    ALREADY_EXISTS,
    Connection,
    connect,
    dataset_input,
    logged_model,
    now_ms,
)
from omniopd.tracking.machine import Machine
from omniopd.tracking.records import CONTEXT, ROUND, TRAINING, Checkpoint, Origin, RoundRecord
from omniopd.tracking.store import STORE_ERRORS, no_answer

log = logging.getLogger(__name__)
Status = Literal["KILLED", "FAILED"]

FAILURES = (*STORE_ERRORS, TrackingError)
MAX_METRICS = 1000  # of one log_batch
EVERY_S = 5.0  # between two messages of a run
RETRY_S = 30.0  # after a failure
SHARE = 20  # after a failure that took t seconds the next try waits this many times t more
STOP_S = 3.0  # for MLflow, when a run is interrupted
REPORT = "report.html"  # the artifact
SENT_LATER = "The run goes on: its metrics are in metrics.jsonl and are sent when MLflow is back."


class Tracker:
    """Logs one run to MLflow. Every call is safe: a failure is a warning, never raised."""

    def __init__(
        self,
        config: RunConfig,
        *,
        key: str,
        origin: Origin,
        root: Path,
        warn: Callable[[str], None],
        later: str = SENT_LATER,
    ):
        self.has_failed = False  # whether MLflow has failed to answer, of which this tracker has warned
        self._config = config
        self._key = key
        self._connect = partial(connect, config, key=key, origin=origin, root=root)
        self._warn = warn
        self._later = later
        self._connection: Connection | None = None
        self._machine: Machine | None = None
        self._pending: list[RoundRecord] = []
        self._checkpoints: list[Checkpoint] = []
        self._logged: set[Checkpoint] = set()
        self._report: Path | None = None  # to be sent
        self._has_report = False  # whether MLflow has it
        self._next_try = 0.0
        self._has_new = False  # whether MLflow got a round that it did not have
        self._is_the_run = False  # not only a report on it

    @property
    def run_id(self) -> str:
        """MLflow's id of the run; empty where tracking is off or MLflow has never answered."""
        return self._connection.run_id if self._connection else ""

    @property
    def page(self) -> str:
        """The address of the run in MLflow; empty where `run_id` is."""
        if self._connection is None:
            return ""
        tracking = self._config.tracking
        address = tracking.uri if tracking.uri.startswith("http") else tracking.ui
        return f"{address.rstrip('/')}/#/experiments/{self._connection.experiment_id}/runs/{self.run_id}"

    @property
    def report_page(self) -> str:
        """The address of the run's report in MLflow; empty where MLflow does not have it."""
        return f"{self.page}/artifacts/{REPORT}" if self._has_report else ""

    def begin(self) -> None:
        """Create or find the run in MLflow, and sample the machine from now until `close`."""
        self._is_the_run = True
        if self._config.tracking.enabled:
            self._machine = Machine(self._config.tracking.uri)
        self._safely(self._sample)

    def round_done(self, record: RoundRecord) -> None:
        """Log a completed round, at once or with the next message."""
        self._pending.append(record)
        self._flush()

    def checkpoint_done(self, checkpoint: Checkpoint) -> None:
        """Log the checkpoint as a LoggedModel, once, with the next message."""
        if checkpoint not in self._logged:
            self._checkpoints.append(checkpoint)

    def report_done(self, path: Path) -> None:
        """Log the run's report as its artifact report.html, with the next message."""
        self._report = path

    def finish(self) -> None:
        """Send what is pending, and end the run; if that fails, the next start of the run ends it."""

        def end(to: Connection) -> None:
            end_time = None if self._has_new else to.end_time
            to.client.set_terminated(to.run_id, status="FINISHED", end_time=end_time)

        self._next_try = 0.0
        self._flush()
        self.close()
        if not self._has_pending:
            self._safely(end)

    def stop(self, status: Status) -> None:
        """End a run that was interrupted; its next start makes it RUNNING again. Takes at most STOP_S."""
        to = self._connection
        if to is None:
            return

        def end() -> None:
            try:
                to.client.set_terminated(to.run_id, status=status)
            except FAILURES:
                log.warning("MLflow still shows the run as running", exc_info=True)

        ending = threading.Thread(target=end, daemon=True, name="TrackerStop")
        ending.start()
        ending.join(STOP_S)

    def close(self) -> None:
        """Stop sampling the machine, however the run ended; may be called twice."""
        if self._machine is not None:
            self._machine.close()
            self._machine = None

    def log_heldout(self, metrics: Mapping[str, float], checkpoint: Checkpoint) -> None:
        """Log final measurements on the run and on the checkpoint's model, those that MLflow does not have."""

        def send(to: Connection) -> None:
            model_id = self._model_id(to, checkpoint)
            of_run = to.client.get_run(to.run_id).data.metrics
            model = to.client.get_logged_model(model_id)
            of_model = {metric.key: metric.value for metric in model.metrics or []}
            for name, value in metrics.items():
                if not of_run.get(name) == of_model.get(name) == value:
                    to.client.log_metric(to.run_id, name, value, step=checkpoint.round, model_id=model_id)

        self._safely(send)

    def tag(self, tags: Mapping[str, str]) -> None:
        """Set tags on the run."""

        def send(to: Connection) -> None:
            for name, value in tags.items():
                to.client.set_tag(to.run_id, name, value)

        self._safely(send)

    def register_best(self, checkpoint: Checkpoint, *, accuracy: float) -> None:
        """Register the checkpoint as the arm's model, and give its version the alias `best`.

        The model is named after the experiment and the arm; there is one version for each set of weights.
        """
        name = f"{self._config.tracking.experiment}.{self._config.arm}"
        tags = {
            "omniopd.weights": checkpoint.digest,
            "omniopd.key": self._key,
            "omniopd.seed": str(self._config.seed),
            "omniopd.round": str(checkpoint.round),
            "omniopd.validation_greedy": f"{accuracy:g}",
        }

        def send(to: Connection) -> None:
            client, model_id = to.client, self._model_id(to, checkpoint)
            if not client.search_registered_models(f"name = '{name}'"):
                try:
                    client.create_registered_model(name)
                except MlflowException as error:
                    if error.error_code != ALREADY_EXISTS:
                        raise
            query = f"name = '{name}' AND tags.`omniopd.weights` = '{checkpoint.digest}'"
            if versions := client.search_model_versions(query):
                version = versions[0]
            else:
                source = checkpoint.path.resolve().as_uri()
                version = client.create_model_version(
                    name, source, run_id=to.run_id, model_id=model_id, tags=tags
                )
            client.set_registered_model_alias(name, "best", version.version)

        self._safely(send)

    @property
    def _has_pending(self) -> bool:
        return bool(self._pending or self._checkpoints or self._report)

    def _flush(self) -> None:
        if self._has_pending and time.monotonic() >= self._next_try:
            self._next_try = time.monotonic() + EVERY_S
            self._safely(self._send)

    def _send(self, to: Connection) -> None:
        history = to.client.get_metric_history(to.run_id, ROUND)
        logged = {metric.step for metric in history}  # not only the last: a round may have been repeated
        records = [record for record in self._pending if record.round not in logged]
        self._has_new = self._has_new or bool(records)
        inputs = [
            dataset_input(file, {CONTEXT: TRAINING, ROUND: str(record.round)})
            for record in records
            for file in record.files
        ]
        for batch in chunk_list(inputs, 200):
            to.client.log_inputs(to.run_id, datasets=batch)
        per_record = 1 + max((len(record.metrics) for record in records), default=0)
        # Whole rounds in a batch: the mark is logged with its round's metrics or not at all.
        for group in chunk_list(records, max(1, MAX_METRICS // per_record)):
            metrics = [metric for record in group for metric in _metrics_of(record)]
            to.client.log_batch(to.run_id, metrics=metrics)
        self._pending.clear()
        while self._checkpoints:
            self._model_id(to, self._checkpoints[0])
            self._logged.add(self._checkpoints.pop(0))
        if self._report is not None:
            to.client.log_text(to.run_id, self._report.read_text(encoding="utf-8"), REPORT)
            self._report, self._has_report = None, True
        self._sample(to)

    def _sample(self, to: Connection) -> None:
        if self._machine is not None:
            self._machine.sample(to.run_id)

    def _safely(self, call: Callable[[Connection], None]) -> None:
        if not self._config.tracking.enabled:
            return
        start = time.monotonic()
        try:
            if self._connection is None:
                self._connection = self._connect(starts=self._is_the_run)
            call(self._connection)
        except FAILURES as error:
            now = time.monotonic()
            self._next_try = now + RETRY_S + SHARE * (now - start)
            log.warning("MLflow failed", exc_info=True)
            if not self.has_failed:
                self.has_failed = True
                self._warn(f"{no_answer(error)}. {self._later}")

    def _model_id(self, to: Connection, checkpoint: Checkpoint) -> str:
        """The id of a checkpoint's LoggedModel, which is created if it does not exist."""
        arm, seed, round_ = self._config.arm, self._config.seed, checkpoint.round
        name = f"{arm}-{seed}-round-{round_:04d}"
        return logged_model(
            to.client,
            to.experiment_id,
            to.run_id,
            f"name = '{name}' AND tags.`omniopd.weights` = '{checkpoint.digest}'",
            step=round_,
            name=name,
            tags={
                "omniopd.weights": checkpoint.digest,
                "omniopd.parent": checkpoint.parent,
                "omniopd.path": checkpoint.path.as_posix(),
                "omniopd.key": self._key,
            },
            params={"arm": arm, "seed": str(seed), "round": str(round_)},
            model_type="checkpoint",
        ).model_id


def _metrics_of(record: RoundRecord) -> list[Metric]:
    """The metrics of a round, and the mark that they are logged."""
    now = now_ms()
    pairs = [*record.metrics.items(), (ROUND, float(record.round))]
    return [Metric(name, value, now, record.round) for name, value in pairs]
