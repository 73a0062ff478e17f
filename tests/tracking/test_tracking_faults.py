"""A store that is locked, full, gone or silent: the run goes on, and afterwards everything is there once."""

import json
import logging
import os
import resource
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import mlflow.store.db.utils
import pytest
from mlflow import MlflowClient
from projects import Project, run_plain
from sqlalchemy import TextClause, text

import flows.distill
from omniopd.config import load_params
from omniopd.data.layout import Layout
from omniopd.evaluation.evaluate import evaluate
from omniopd.rounds.run import open_run
from omniopd.rounds.start import start_run
from omniopd.tracking import store, tracker
from omniopd.tracking.records import RoundRecord
from omniopd.tracking.track import track_comparison, track_evaluation, tracker_of

NUM_ROUNDS = 5


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message a round, and short waits: what is measured are blocks, not pauses."""
    monkeypatch.setattr(tracker, "EVERY_S", 0.0)
    monkeypatch.setattr(tracker, "RETRY_S", 0.0)
    monkeypatch.setattr(tracker, "SHARE", 0)
    monkeypatch.setattr(mlflow.store.db.utils, "sql", SimpleNamespace(text=_waiting_less))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setattr(logging.getLogger("mlflow"), "disabled", True)


def _waiting_less(statement: str) -> TextClause:
    """A statement of MLflow's, with a fifth of a second for a lock of SQLite in place of its twenty seconds."""
    return text(statement.replace("busy_timeout = 20000", "busy_timeout = 200"))


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with its tables made, which takes seconds."""
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def database(empty_database: Path, tmp_path: Path, project: Project) -> Path:
    path = tmp_path / "mlflow.db"
    shutil.copy(empty_database, path)
    project.edit(tracking__enabled=True, tracking__uri=f"sqlite:///{path}", tracking__experiment="faults")
    return path


@pytest.fixture
def at_round(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[int, Callable[[], object]]], None]:
    """Have something happen when a round begins."""
    one_round = flows.distill._one_round

    def install(events: dict[int, Callable[[], object]]) -> None:
        def disturbed(run, round_, *given):
            events.get(round_, lambda: None)()
            return one_round(run, round_, *given)

        monkeypatch.setattr(flows.distill, "_one_round", disturbed)

    return install


def _check_all_is_there_once(project: Project, uri: str) -> None:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("faults")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    lines = [json.loads(line) for line in (project.run_dir() / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == NUM_ROUNDS + 1
    for name in {name for line in lines for name in line}:
        recorded = [(line["round"], float(line[name])) for line in lines if name in line]
        points = client.get_metric_history(run.info.run_id, name)
        assert sorted((point.step, point.value) for point in points) == recorded
    digests = []
    for path in sorted((project.run_dir() / "manifests").iterdir()):
        digests += json.loads(path.read_text())["files"].values()
    training = [entry for entry in run.inputs.dataset_inputs if len(entry.tags) == 2]
    assert sorted(entry.dataset.digest for entry in training) == sorted(digests)
    assert len(run.inputs.dataset_inputs) == len(training) + 2
    models = client.search_logged_models([experiment.experiment_id])
    assert sorted(model.name for model in models) == [f"omniopd-0-round-000{round_}" for round_ in (2, 4, 5)]
    assert {model.status for model in models} == {"READY"}
    outputs = client.get_run(run.info.run_id).outputs
    assert outputs is not None
    assert sorted(output.model_id for output in outputs.model_outputs) == sorted(m.model_id for m in models)
    assert "config.json" in [entry.path for entry in client.list_artifacts(run.info.run_id)]


# --- a database


class Lock:
    """Another process's transaction, as of a backup that hangs."""

    def __init__(self, database: Path):
        self._connection = sqlite3.connect(
            database, isolation_level=None, timeout=60, check_same_thread=False
        )

    def take(self) -> None:
        self._connection.execute("BEGIN EXCLUSIVE")

    def free(self) -> None:
        self._connection.execute("ROLLBACK")


@pytest.mark.slow
def test_a_store_that_is_locked_from_the_start_to_the_end(
    project: Project, database: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tracker, "RETRY_S", 60.0)
    lock = Lock(database)
    lock.take()
    run_plain(project.params_file)
    assert capsys.readouterr().err.count("MLflow does not answer") == 1
    lock.free()
    run_plain(project.params_file)
    _check_all_is_there_once(project, f"sqlite:///{database}")


def test_a_store_that_is_locked_for_two_rounds(project: Project, database: Path, at_round, capsys):
    lock = Lock(database)
    at_round({1: lock.take, 3: lock.free})
    run_plain(project.params_file)
    assert capsys.readouterr().err.count("MLflow does not answer") == 1
    _check_all_is_there_once(project, f"sqlite:///{database}")


@pytest.mark.slow
def test_the_end_of_a_run_with_a_locked_store_is_logged_at_the_next_start(
    project: Project, database: Path, at_round
):
    lock = Lock(database)
    at_round({4: lock.take})
    run_plain(project.params_file)
    lock.free()
    (run,) = MlflowClient(f"sqlite:///{database}").search_runs(["1"])
    assert run.info.status == "RUNNING"
    run_plain(project.params_file)
    _check_all_is_there_once(project, f"sqlite:///{database}")


@pytest.mark.slow
def test_a_lock_holds_a_call_for_twenty_seconds_and_no_longer(
    project: Project, database: Path, monkeypatch: pytest.MonkeyPatch
):
    """MLflow waits so long for SQLite; what that costs a run is bounded, as the next try comes much later."""
    monkeypatch.undo()
    run_dir = start_run(load_params(project.params_file), "omniopd", 0, Layout(project.root))
    warnings: list[str] = []
    run_tracker = tracker_of(open_run(run_dir), warnings.append)
    run_tracker.begin()
    lock = Lock(database)
    lock.take()
    start = time.monotonic()
    run_tracker.round_done(RoundRecord(0, {"loss": 1.0}, []))
    took = time.monotonic() - start
    lock.free()
    assert 19 < took < 40
    assert len(warnings) == 1
    pause = run_tracker._next_try - time.monotonic()
    assert pause > 0.9 * (tracker.RETRY_S + tracker.SHARE * took), "a twentieth of the time at most is waited"
    run_tracker.finish()


@pytest.mark.slow
def test_what_an_evaluation_and_a_comparison_could_not_log_is_logged_by_the_next_comparison_once(
    project: Project, database: Path
):
    run_plain(project.params_file)
    layout, lock = Layout(project.root), Lock(database)
    record = evaluate("omniopd", 0, layout)
    warnings: list[str] = []

    lock.take()
    track_evaluation(record, layout, warnings.append)
    track_comparison([record], layout, warnings.append)
    lock.free()
    of_evaluation, of_comparison = warnings
    assert "omniopd-0.json is written; `omniopd compare` sends it when MLflow is back" in of_evaluation
    assert "comparison.json is written; call `omniopd compare` again when MLflow is back" in of_comparison

    for _ in range(2):
        track_comparison([record], layout, pytest.fail)
    client = MlflowClient(f"sqlite:///{database}")
    (run,) = client.search_runs(["1"])
    assert "omniopd.comparison" in run.data.tags
    assert (
        client.get_model_version_by_alias("faults.omniopd", "best").tags["omniopd.key"]
        == run.data.tags["omniopd.key"]
    )
    (last,) = [model for model in client.search_logged_models(["1"]) if model.name.endswith("0005")]
    of_model = [(point.key, point.value) for point in last.metrics or []]
    for how in ("greedy", "sampled"):
        for when in ("before", "after"):
            name, value = f"heldout/{how}/{when}", record[when][how]["accuracy"]
            (point,) = client.get_metric_history(run.info.run_id, name)
            assert (point.step, point.value) == (NUM_ROUNDS, value)
            assert of_model.count((name, value)) == 1


@contextmanager
def _disk_full(at: int) -> Iterator[None]:
    """No file may grow beyond so many bytes, as on a disk that is full: the system itself refuses."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (at, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.slow
def test_a_store_whose_disk_is_full_from_the_start_to_the_end(project: Project, database: Path, capsys):
    with _disk_full(database.stat().st_size):
        run_plain(project.params_file)
    assert capsys.readouterr().err.count("MLflow does not answer") == 1
    run_plain(project.params_file)
    _check_all_is_there_once(project, f"sqlite:///{database}")


@pytest.mark.slow
def test_a_store_whose_disk_is_full_for_two_rounds(project: Project, database: Path, at_round, capsys):
    disk: list = []

    def fill() -> None:
        disk.append(_disk_full(database.stat().st_size))
        disk[0].__enter__()

    at_round({1: fill, 3: lambda: disk[0].__exit__(None, None, None)})
    run_plain(project.params_file)
    assert capsys.readouterr().err.count("MLflow does not answer") == 1
    _check_all_is_there_once(project, f"sqlite:///{database}")


# --- a server


class Line:
    """The way to a server, which can be cut, fall silent, or lose the answers alone."""

    def __init__(self, port: int):
        self._server = ("127.0.0.1", port)
        self._listener: socket.socket | None = None
        self._connections: list[socket.socket] = []
        self.port = 0
        self.mode = "open"
        self.restore()

    def cut(self) -> None:
        """Nothing listens."""
        assert self._listener is not None
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._connections.clear()
        self._listener = None

    def restore(self) -> None:
        self.mode = "open"
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            self.port = self._listener.getsockname()[1]
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def close(self) -> None:
        if self._listener is not None:
            self.cut()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(self._server)
                self._connections += [client, server]
                for source, target, loses in ((client, server, "silent"), (server, client, "silent mute")):
                    arguments = (source, target, loses.split())
                    threading.Thread(target=self._carry, args=arguments, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, loses: list[str]) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if self.mode not in loses:
                    target.sendall(data)


@pytest.fixture(scope="module")
def server(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server of MLflow."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty_database, folder / "mlflow.db")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    store, artifacts = f"sqlite:///{folder / 'mlflow.db'}", str(folder / "artifacts")
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store, "--workers", "1"),
        *("--artifacts-destination", artifacts, "--host", "127.0.0.1", "--port", str(port)),
    ]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait_for(f"http://127.0.0.1:{port}/health")
        yield port
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f"{url} does not answer")


@pytest.fixture
def line(server: int, project: Project) -> Iterator[Line]:
    line = Line(server)
    project.edit(
        tracking__enabled=True, tracking__uri=f"http://127.0.0.1:{line.port}", tracking__experiment="faults"
    )
    yield line
    line.restore()
    client = MlflowClient(f"http://127.0.0.1:{line.port}")
    experiment = client.get_experiment_by_name("faults")
    if experiment is not None:  # the next test begins with none; a name that was deleted is not free again
        client.rename_experiment(experiment.experiment_id, f"faults of {line.port}")
    line.close()


def _mode(line: Line, mode: str) -> Callable[[], None]:
    def change() -> None:
        line.mode = mode

    return line.cut if mode == "cut" else change


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["cut", "silent", "mute"])
def test_a_server_that_fails_for_two_rounds(line: Line, mode: str, project: Project, at_round, capsys):
    """Where its answers are lost alone, it has what it was sent, and is not sent it again."""
    at_round({1: _mode(line, mode), 3: line.restore})
    start = time.monotonic()
    run_plain(project.params_file)
    seconds = time.monotonic() - start
    assert capsys.readouterr().err.count("MLflow does not answer") == 1
    _check_all_is_there_once(project, f"http://127.0.0.1:{line.port}")
    assert seconds < 30


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["cut", "silent", "mute"])
def test_a_server_that_fails_from_the_start_to_the_end(
    line: Line, mode: str, project: Project, capsys, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tracker, "RETRY_S", 60.0)
    _mode(line, mode)()
    run_plain(project.params_file)
    assert capsys.readouterr().err.count("MLflow does not answer") == 1
    line.restore()
    run_plain(project.params_file)
    _check_all_is_there_once(project, f"http://127.0.0.1:{line.port}")


@pytest.mark.slow
def test_a_request_is_given_up_after_ten_seconds_and_never_repeated_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
):
    """A request whose answer was lost may have been heard: what repeats it is a message that looks first."""
    for name in store.HTTP:
        monkeypatch.delenv(name, raising=False)
    store.client_of("http://127.0.0.1:9")
    assert {name: os.environ[name] for name in store.HTTP} == {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    }
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "300")
    store.client_of("http://127.0.0.1:9")
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "300"
