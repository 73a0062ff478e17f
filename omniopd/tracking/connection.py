"""The MLflow run of one of our runs: found by its key, or created with everything needed to repeat it."""

import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    Experiment,
    InputTag,
    LoggedModel,
    LoggedModelOutput,
    LoggedModelStatus,
    Param,
    Run,
)
from mlflow.exceptions import MlflowException
from mlflow.utils import chunk_list

from omniopd.config import RunConfig, Tracking
from omniopd.data.receipts import work_key
from omniopd.errors import TrackingError, one_line
from omniopd.tracking.origin import changes, code_tags
from omniopd.tracking.records import CONTEXT, PROMPTS, DataFile, Origin
from omniopd.tracking.store import STORE_ERRORS, client_of, database_of, is_made

RECORDED = "omniopd.recorded"  # the tag, set last, of a run whose origin is logged completely
FOLDER = "omniopd.folder"  # the tag with the run's folder below runs/
ALREADY_EXISTS = "RESOURCE_ALREADY_EXISTS"  # MLflow's code
MAX_PARAM = 6000  # characters of a value; config.json has the whole


@dataclass(frozen=True)
class Connection:
    """A client, and the MLflow run that it logs to."""

    client: MlflowClient
    experiment_id: str
    run_id: str
    end_time: int | None  # of a run that had already finished


def connect(config: RunConfig, *, key: str, origin: Origin, root: Path, starts: bool) -> Connection:
    """Find the run with this key, or create it; root is the folder whose code the run is made with.

    starts: whether the run itself starts or resumes; one that is only reported on keeps its status.
    """
    client = client_of(config.tracking.uri)
    experiment_id = experiment_id_of(client, config.tracking)
    folder = origin.config.parent.name
    key_tags = _key_tags(config, key)
    end_time = None
    if runs := _runs_of(client, experiment_id, key_tags, folder):
        run = runs[0]
        end_time = run.info.end_time if run.info.status == "FINISHED" else None
        if starts:
            client.update_run(run.info.run_id, status="RUNNING")
    else:
        tags = {
            **key_tags,
            FOLDER: folder,
            "omniopd.method": config.method_name,
            "omniopd.settings": work_key(config.determining()),
            **{f"omniopd.{role}": origin.inputs[role] for role in ("student", "teacher")},
            **code_tags(root),
        }
        run = client.create_run(experiment_id, tags=tags, run_name=folder)
    if RECORDED not in run.data.tags:
        _log_origin(client, run, config, origin, root)
    return Connection(client, experiment_id, run.info.run_id, end_time)


def end_if_running(config: RunConfig, *, key: str, folder: str, status: str) -> None:
    """Give the run with this key that status if MLflow shows it as running, for a process that could not.

    Raises:
        TrackingError: MLflow does not answer.
    """
    try:
        client = client_of(config.tracking.uri)
        experiment = client.get_experiment_by_name(config.tracking.experiment)
        if experiment is None:
            return
        for run in _runs_of(client, experiment.experiment_id, _key_tags(config, key), folder):
            if run.info.status == "RUNNING":
                client.set_terminated(run.info.run_id, status=status)
    except STORE_ERRORS as error:
        raise TrackingError(f"{config.tracking.uri}: {one_line(error)}") from error


def _key_tags(config: RunConfig, key: str) -> dict[str, str]:
    """The tags that identify a run."""
    return {"omniopd.key": key, "omniopd.arm": config.arm, "omniopd.seed": str(config.seed)}


def _runs_of(client: MlflowClient, experiment_id: str, key_tags: Mapping[str, str], folder: str) -> list[Run]:
    query = " and ".join(f"tags.`{name}` = '{value}'" for name, value in key_tags.items())
    runs = client.search_runs([experiment_id], query)
    # A run whose overrides decide no result has the same key as the run without them, but is another run.
    return [run for run in runs if run.data.tags.get(FOLDER, folder) == folder]


def reach(uri: str) -> str:
    """Ask the MLflow at that address; its answer, in words. A database that does not exist is not made.

    Raises:
        TrackingError: it does not answer.
    """
    if (database := database_of(uri)) and not is_made(database):
        return "is made by the first run"
    try:
        experiments = client_of(uri).search_experiments(max_results=1)
    except STORE_ERRORS as error:
        raise TrackingError(f"{uri}: {one_line(error)}") from error
    return "answers" if experiments else "answers, and is empty"


def experiment_id_of(client: MlflowClient, tracking: Tracking) -> str:
    """The id of the experiment that params name, which is created if it does not exist.

    The artifacts of a SQLite store are put next to the database; a server has its own place for them.
    """
    name, database = tracking.experiment, database_of(tracking.uri)
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        artifacts = str(database.resolve().parent / "mlruns" / name) if database else None
        try:
            return client.create_experiment(name, artifact_location=artifacts)
        except MlflowException as error:
            if error.error_code != ALREADY_EXISTS:
                raise
            experiment = client.get_experiment_by_name(name)  # another process was quicker
    assert isinstance(experiment, Experiment)
    return experiment.experiment_id


def logged_model(
    client: MlflowClient, experiment_id: str, run_id: str, query: str, *, step: int, **fields: Any
) -> LoggedModel:
    """The LoggedModel that the query finds, or a new one with those fields: an output of the run, and READY.

    One whose creation was interrupted is completed.
    """
    models = client.search_logged_models([experiment_id], query)
    model = models[0] if models else client.create_logged_model(experiment_id, source_run_id=run_id, **fields)
    if model.status != LoggedModelStatus.READY:
        outputs = client.get_run(run_id).outputs
        if not outputs or model.model_id not in [output.model_id for output in outputs.model_outputs]:
            client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=step)])
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    return model


def dataset_input(file: DataFile, tags: Mapping[str, str]) -> DatasetInput:
    """A file of data as an input of a run. MLflow keeps one input per name and digest, so the name is the file's."""
    source, profile = json.dumps({"uri": file.name}), json.dumps({"num_rows": file.num_rows})
    dataset = Dataset(file.label, file.digest, "local", source, profile=profile)
    return DatasetInput(dataset, [InputTag(name, value) for name, value in tags.items()])


def now_ms() -> int:
    """Milliseconds since 1970, MLflow's unit of time."""
    return time.time_ns() // 1_000_000


def _log_origin(client: MlflowClient, run: Run, config: RunConfig, origin: Origin, root: Path) -> None:
    """Log everything needed to repeat the run; where this was interrupted, all of it is logged again."""
    run_id, logged = run.info.run_id, run.data.params
    # MLflow cannot change a param that is already logged; config.json has the present value.
    params = [
        Param(name, str(value)[:MAX_PARAM])
        for name, value in _flat(config.model_dump())
        if name not in logged
    ]
    for batch in chunk_list(params, 100):
        client.log_batch(run_id, params=batch)
    client.log_inputs(run_id, datasets=[dataset_input(file, {CONTEXT: PROMPTS}) for file in origin.prompts])
    client.log_artifact(run_id, str(origin.config))
    if patch := changes(root):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "changes.patch"
            path.write_bytes(patch)
            client.log_artifact(run_id, str(path))
    client.set_tag(run_id, RECORDED, "true")


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
