"""The MLflow run that belongs to a run: found by its key, or created with everything that repeats it."""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Experiment, Param, Run
from mlflow.exceptions import MlflowException

from omniopd.config import RunConfig, Tracking
from omniopd.data.receipts import work_key
from omniopd.errors import TrackingError, one_line
from omniopd.tracking.messages import prompts_input, slices
from omniopd.tracking.origin import changes, code_tags
from omniopd.tracking.records import Origin
from omniopd.tracking.store import STORE_ERRORS, client_of, database_of, is_made

RECORDED = "omniopd.recorded"  # the tag, set last, of a run whose origin was told to the end
FOLDER = "omniopd.folder"  # the tag that says which folder below runs/ a run is of
ALREADY_EXISTS = "RESOURCE_ALREADY_EXISTS"  # MLflow's code
MAX_PARAM = 6000  # characters of a value; config.json has the whole


@dataclass(frozen=True)
class Connection:
    """A client, and the run that it speaks of."""

    client: MlflowClient
    experiment_id: str
    run_id: str
    end_time: int | None  # of a run that had ended before


def connect(config: RunConfig, *, key: str, origin: Origin, root: Path, starts: bool) -> Connection:
    """Find the run with this key, or create it; root is the folder whose code the run is made with.

    starts: whether the run itself starts or resumes; one that is only reported on keeps its status.
    """
    client = client_of(config.tracking.uri)
    experiment_id = experiment_id_of(client, config.tracking)
    folder = origin.config.parent.name
    known = _known(config, key)
    found = _runs_of(client, experiment_id, known, folder)
    end_time = None
    if found:
        run = found[0]
        end_time = run.info.end_time if run.info.status == "FINISHED" else None
        if starts:
            client.update_run(run.info.run_id, status="RUNNING")
    else:
        tags = known | {FOLDER: folder} | _tags(config, origin, root)
        run = client.create_run(experiment_id, tags=tags, run_name=folder)
    if RECORDED not in run.data.tags:
        _record_origin(client, run, config, origin, root)
    return Connection(client, experiment_id, run.info.run_id, end_time)


def end_if_running(config: RunConfig, *, key: str, folder: str, status: str) -> None:
    """Give the run with this key that status if MLflow has it as running, for a process that could not do so itself.

    Raises:
        TrackingError: MLflow does not answer.
    """
    try:
        _end_if_running(config, key, folder, status)
    except STORE_ERRORS as error:
        raise TrackingError(f"{config.tracking.uri}: {one_line(error)}") from error


def _end_if_running(config: RunConfig, key: str, folder: str, status: str) -> None:
    client = client_of(config.tracking.uri)
    experiment = client.get_experiment_by_name(config.tracking.experiment)
    found = _runs_of(client, experiment.experiment_id, _known(config, key), folder) if experiment else []
    for run in found:
        if run.info.status == "RUNNING":
            client.set_terminated(run.info.run_id, status=status)


def _known(config: RunConfig, key: str) -> dict[str, str]:
    """The tags by which a run is found again."""
    return {"omniopd.key": key, "omniopd.arm": config.arm, "omniopd.seed": str(config.seed)}


def _runs_of(client: MlflowClient, experiment_id: str, known: Mapping[str, str], folder: str) -> list[Run]:
    query = " and ".join(f"tags.`{name}` = '{value}'" for name, value in known.items())
    found = client.search_runs([experiment_id], query)
    # One with overrides that decide no result has the key of the run without, and is another run all the same.
    return [run for run in found if run.data.tags.get(FOLDER, folder) == folder]


def reach(uri: str) -> str:
    """Ask MLflow at the address; what was found there, in words. A database that is not there is not made.

    Raises:
        TrackingError: it does not answer.
    """
    if (database := database_of(uri)) and not is_made(database):
        return "is made by the first run"
    try:
        found = client_of(uri).search_experiments(max_results=1)
    except STORE_ERRORS as error:
        raise TrackingError(f"{uri}: {one_line(error)}") from error
    return "answers" if found else "answers, and is empty"


def experiment_id_of(client: MlflowClient, tracking: Tracking) -> str:
    """The id of the experiment that params name, which is created where there is none."""
    name = tracking.experiment
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return client.create_experiment(name, artifact_location=_artifacts_beside(tracking.uri, name))
        except MlflowException as error:
            if error.error_code != ALREADY_EXISTS:
                raise
            experiment = client.get_experiment_by_name(name)  # another process was quicker
    assert isinstance(experiment, Experiment)
    return experiment.experiment_id


def _artifacts_beside(uri: str, experiment: str) -> str | None:
    """The folder of an experiment's artifacts beside a database of SQLite; a server knows its own."""
    database = database_of(uri)
    return str(database.resolve().parent / "mlruns" / experiment) if database else None


def _tags(config: RunConfig, origin: Origin, root: Path) -> dict[str, str]:
    return {
        "omniopd.method": config.method_name,
        "omniopd.settings": work_key(config.determining()),
        **{f"omniopd.{role}": origin.inputs[role] for role in ("student", "teacher")},
        **code_tags(root),
    }


def _record_origin(client: MlflowClient, run: Run, config: RunConfig, origin: Origin, root: Path) -> None:
    """Everything that repeats the run; of a run that lacks the last tag all of it is told again."""
    run_id = run.info.run_id
    params = [
        Param(name, str(value)[:MAX_PARAM])
        for name, value in _flat(config.resolved())
        if name
        not in run.data.params  # a value cannot be changed, and need not be: config.json has what holds
    ]
    for batch in slices(params, 100):
        client.log_batch(run_id, params=batch)
    client.log_inputs(run_id, datasets=[prompts_input(file) for file in origin.prompts])
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
