"""The store that several processes want at once, when there is none yet."""

import multiprocessing
import os
import re
from pathlib import Path

import pytest
from projects import REPOSITORY, Project

from omniopd.config import load_params
from omniopd.errors import TrackingError
from omniopd.tracking import store
from omniopd.tracking.connection import experiment_id_of, reach
from omniopd.tracking.store import client_of, make_store

PROCESSES = multiprocessing.get_context("fork")  # what takes seconds is imported once


def test_of_four_processes_that_come_to_an_empty_folder_one_makes_the_store_and_all_use_it(
    base_project: Project, tmp_path: Path
):
    """Three begin an experiment, as runs and evaluations do, and one only has the store made, as `make ui` does."""
    uri, tracking = f"sqlite:///{tmp_path}/mlflow.db", load_params(base_project.params_file).tracking
    (tmp_path / "mlflow.db").touch()  # as a process leaves it that is killed before it makes a table
    assert reach(uri) == "is made by the first run"
    together = PROCESSES.Barrier(4)

    def work(number: int) -> None:
        together.wait()
        if number == 0:
            make_store(uri)
        else:
            (tmp_path / f"{number}.txt").write_text(experiment_id_of(client_of(uri), tracking))

    processes = [PROCESSES.Process(target=work, args=(number,)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    experiment = client_of(uri).get_experiment_by_name(tracking.experiment)
    assert experiment is not None
    assert [(tmp_path / f"{number}.txt").read_text() for number in (1, 2, 3)] == [
        experiment.experiment_id
    ] * 3
    assert sorted(path.name for path in tmp_path.glob("*mlflow*")) == ["mlflow.db", "mlflow.db.lock"]


def test_a_wait_that_is_too_long_names_the_process_that_makes_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(store, "MAKING_S", 0.1)
    database = tmp_path / "mlflow.db"
    with (
        store.try_lock(tmp_path / "mlflow.db.lock", within_s=1.0),
        pytest.raises(
            TrackingError, match=rf"mlflow\.db: process {os.getpid()} on .* stop that process, and try again"
        ),
    ):
        make_store(f"sqlite:///{database}")
    assert not database.exists()


def test_nothing_else_opens_the_store():
    """What opens it by itself may make its tables beside another process."""
    opened = [
        path.relative_to(REPOSITORY).as_posix()
        for folder in ("omniopd", "flows")
        for path in (REPOSITORY / folder).rglob("*.py")
        if re.search(r"MlflowClient\(|SqlAlchemyStore\(", path.read_text(encoding="utf-8"))
    ]
    assert opened == ["omniopd/tracking/store.py"]
    script = (REPOSITORY / "scripts" / "ui").read_text(encoding="utf-8")
    assert script.index("omniopd.tracking.store sqlite:///mlflow.db") < script.index("mlflow server")
