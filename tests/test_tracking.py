"""MLflow is told everything once, and a run does without it."""

from pathlib import Path

import pytest
from mlflow import MlflowClient
from projects import Project, run_plain

from omniopd.tracking import RoundRecord


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One database for the module: making its tables takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture
def tracked(
    project: Project, store: str, request: pytest.FixtureRequest
) -> tuple[Project, MlflowClient, str]:
    project.edit(tracking__enabled=True, tracking__uri=store, tracking__experiment=request.node.name)
    return project, MlflowClient(store), request.node.name


def _experiment_id(client: MlflowClient, name: str) -> str:
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    return experiment.experiment_id


def test_a_run_is_logged_once_however_often_it_is_started(tracked: tuple[Project, MlflowClient, str]):
    project, client, name = tracked
    for _ in range(2):
        run_plain(project.params_file)
    experiment_id = _experiment_id(client, name)
    (run,) = client.search_runs([experiment_id])
    assert run.info.run_name == "omniopd-0"
    assert run.info.status == "FINISHED"
    assert run.data.params["method.chunk_len"] == "2"
    assert run.data.params["train.lr"] == "0.0002"
    for metric, rounds in {
        "loss": range(5),
        "k_sem_floor/mean": range(5),
        "validation/greedy": (0, 2, 4, 5),
    }.items():
        assert sorted(point.step for point in client.get_metric_history(run.info.run_id, metric)) == list(
            rounds
        )
    digests = {entry.dataset.digest for entry in run.inputs.dataset_inputs}
    assert len(digests) == 10  # trajectories and verdicts of five rounds
    models = client.search_logged_models([experiment_id])
    assert sorted(model.name for model in models) == [f"omniopd-0-round-000{round_}" for round_ in (2, 4, 5)]


def test_the_digests_in_mlflow_are_the_md5_of_the_files(tracked: tuple[Project, MlflowClient, str]):
    import hashlib

    project, client, name = tracked
    run_plain(project.params_file)
    (run,) = client.search_runs([_experiment_id(client, name)])
    found = {(entry.dataset.name, entry.dataset.digest) for entry in run.inputs.dataset_inputs}
    files = [
        path for folder in ("trajectories", "verdicts") for path in (project.run_dir() / folder).iterdir()
    ]
    assert found == {(path.parent.name, hashlib.md5(path.read_bytes()).hexdigest()) for path in files}


def test_an_evaluation_is_logged_on_the_run_and_on_its_last_model(tracked: tuple[Project, MlflowClient, str]):
    from omniopd.data.layout import Layout
    from omniopd.stages.evaluate import evaluate
    from omniopd.stages.track import track_evaluation

    project, client, name = tracked
    run_plain(project.params_file)
    layout = Layout(project.root)
    record = evaluate("omniopd", 0, layout)
    (ended,) = client.search_runs([_experiment_id(client, name)])
    track_evaluation(record, layout, warn=pytest.fail)
    (run,) = client.search_runs([_experiment_id(client, name)])
    assert run.info.status == "FINISHED"
    assert run.info.end_time == ended.info.end_time, "its duration is that of the run, not of what came after"
    experiment_id = _experiment_id(client, name)
    (run,) = client.search_runs([experiment_id])
    assert run.data.metrics["heldout/sampled/after"] == record["after"]["sampled"]["accuracy"]
    (last,) = [model for model in client.search_logged_models([experiment_id]) if model.name.endswith("0005")]
    assert {metric.key for metric in last.metrics or []} >= {"heldout/greedy/before", "heldout/greedy/after"}


def test_a_run_goes_on_without_mlflow_and_says_so_once(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    blocker = tmp_path / "blocker"
    blocker.write_text("a file where the store's folder should be")
    project.edit(tracking__enabled=True, tracking__uri=f"sqlite:///{blocker}/mlflow.db")
    run_plain(project.params_file)
    errors = capsys.readouterr().err
    assert errors.count("MLflow does not answer") == 1
    assert len((project.run_dir() / "metrics.jsonl").read_text().splitlines()) == 6


def test_what_mlflow_missed_is_sent_when_it_is_back(project: Project, store: str, tmp_path: Path):
    blocker = tmp_path / "blocker"
    blocker.write_text("")
    project.edit(
        tracking__enabled=True, tracking__uri=f"sqlite:///{blocker}/mlflow.db", tracking__experiment="back"
    )
    run_plain(project.params_file)
    project.edit(tracking__uri=store)
    run_plain(project.params_file)
    client = MlflowClient(store)
    (run,) = client.search_runs([_experiment_id(client, "back")])
    assert sorted(point.step for point in client.get_metric_history(run.info.run_id, "loss")) == list(
        range(5)
    )
    assert len(client.search_logged_models([_experiment_id(client, "back")])) == 3


def test_a_store_that_fails_half_way_gets_no_step_twice(
    tracked: tuple[Project, MlflowClient, str], monkeypatch
):
    """The store takes a batch and then fails: the next message starts behind what it has."""
    from omniopd import tracking
    from omniopd.config import load_params
    from omniopd.data.layout import Layout
    from omniopd.stages.run import open_run, start_run

    project, client, name = tracked
    run = open_run(start_run(load_params(project.params_file), "omniopd", 0, Layout(project.root)))
    warnings: list[str] = []
    tracker = tracking.Tracker(run.config, key=run.key, root=project.root, warn=warnings.append)
    monkeypatch.setattr(tracking, "MAX_METRICS", 4)  # two rounds a batch
    sent = MlflowClient.log_batch
    calls = []

    def fail_second(self, run_id, metrics=(), **rest):
        if metrics:
            calls.append(len(metrics))
            if len(calls) == 2:
                raise OSError("disk full")
        return sent(self, run_id, metrics=metrics, **rest)

    monkeypatch.setattr(MlflowClient, "log_batch", fail_second)
    tracker._next_try = float("inf")
    for round_ in range(6):
        tracker.round_done(RoundRecord(round_, {"loss": 1.0 / (round_ + 1)}, {}))
    tracker.finish()
    assert calls == [4, 4]
    assert len(warnings) == 1
    tracker.finish()
    (found,) = client.search_runs([_experiment_id(client, name)])
    assert [point.step for point in client.get_metric_history(found.info.run_id, "loss")] == list(range(6))


def test_a_checkpoint_that_could_not_be_logged_is_logged_later_though_no_round_is_pending(
    tracked: tuple[Project, MlflowClient, str], monkeypatch
):
    from omniopd import tracking
    from omniopd.config import load_params
    from omniopd.data.layout import Layout
    from omniopd.stages.run import open_run, start_run

    project, client, name = tracked
    run = open_run(start_run(load_params(project.params_file), "omniopd", 0, Layout(project.root)))
    warnings: list[str] = []
    tracker = tracking.Tracker(run.config, key=run.key, root=project.root, warn=warnings.append)
    tracker.round_done(RoundRecord(0, {"loss": 1.0}, {}))
    tracker.checkpoint_done(1, run.files.checkpoint(1), "digest")
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_logged_model", _disk_full)
        tracker.finish()
    assert len(warnings) == 1
    assert not client.search_logged_models([_experiment_id(client, name)])
    tracker.finish()
    (model,) = client.search_logged_models([_experiment_id(client, name)])
    assert model.tags["omniopd.weights"] == "digest"


def _disk_full(*_, **__):
    raise OSError("disk full")
