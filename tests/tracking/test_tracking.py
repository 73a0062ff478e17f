"""Everything is logged to MLflow once, and is enough to repeat a run."""

import hashlib
import json
import platform
import subprocess
import sys
import threading
import time
from pathlib import Path
from uuid import uuid4

import pyarrow.parquet as pq
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelled, Crashed
from projects import Project, run_plain

import flows.distill
from flows.distill import end_in_mlflow
from omniopd import __version__
from omniopd.config import load_params
from omniopd.data.layout import Layout
from omniopd.data.lock import only_writer
from omniopd.data.receipts import work_key
from omniopd.rounds.run import Run, open_run
from omniopd.rounds.start import start_run
from omniopd.tracking import tracker
from omniopd.tracking.lookup import Lookup
from omniopd.tracking.records import Checkpoint, RoundRecord
from omniopd.tracking.track import tracker_of


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
    assert len(_inputs(run, "training")) == 10  # trajectories and verdicts of five rounds
    assert len(_inputs(run, "prompts")) == 2
    models = client.search_logged_models([experiment_id])
    assert sorted(model.name for model in models) == [f"omniopd-0-round-000{round_}" for round_ in (2, 4, 5)]


def _inputs(run: MlflowRun, context: str) -> dict[str, tuple[str, str, int]]:
    """Source, digest and rows of a run's datasets by name."""
    files = {}
    for entry in run.inputs.dataset_inputs:
        tags = {tag.key: tag.value for tag in entry.tags}
        if tags["mlflow.data.context"] == context:
            rows = json.loads(entry.dataset.profile)["num_rows"]
            source = json.loads(entry.dataset.source)["uri"]
            files[entry.dataset.name] = (source, entry.dataset.digest, rows)
    return files


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_the_digests_in_mlflow_are_the_md5_of_the_files(tracked: tuple[Project, MlflowClient, str]):
    project, client, name = tracked
    run_plain(project.params_file)
    (run,) = client.search_runs([_experiment_id(client, name)])
    names = [f"{folder}/round-000{i}.parquet" for folder in ("trajectories", "verdicts") for i in range(5)]
    assert _inputs(run, "training") == {
        name.removesuffix(".parquet"): (name, _md5(path), len(pq.read_table(path)))
        for name, path in ((name, project.run_dir() / name) for name in names)
    }
    prompts = {
        split: project.root / "data" / "seed-0" / f"{split}.jsonl" for split in ("train", "validation")
    }
    assert _inputs(run, "prompts") == {
        f"data/seed-0/{split}": (f"data/seed-0/{split}.jsonl", _md5(path), num_rows)
        for (split, path), num_rows in zip(prompts.items(), (40, 6), strict=True)
    }


def test_a_run_says_what_it_was_made_from(tracked: tuple[Project, MlflowClient, str], tmp_path: Path):
    project, client, name = tracked
    _commit(project.root)
    project.edit(train__num_rounds=3)
    (project.root / ".env").write_text("ANTHROPIC_API_KEY=secret")
    run_plain(project.params_file)
    (run,) = client.search_runs([_experiment_id(client, name)])
    config = json.loads((project.run_dir() / "config.json").read_text())
    expected = {
        "omniopd.version": __version__,
        "omniopd.python": platform.python_version(),
        "omniopd.torch": torch.__version__,
        "omniopd.settings": work_key(_open(project).config.determining()),
        "omniopd.student": config["inputs"]["student"],
        "omniopd.teacher": config["inputs"]["teacher"],
        "omniopd.git.changed": "true",
        "mlflow.source.git.commit": _git(project.root, "rev-parse", "HEAD").strip(),
        "omniopd.recorded": "true",
    }
    assert expected.items() <= run.data.tags.items()
    assert [entry.path for entry in client.list_artifacts(run.info.run_id)] == [
        "changes.patch",
        "config.json",
        "report.html",
    ]
    artifacts = Path(client.download_artifacts(run.info.run_id, "", str(tmp_path)))
    assert (artifacts / "config.json").read_bytes() == (project.run_dir() / "config.json").read_bytes()
    page = project.root / "reports" / "omniopd-0.html"
    assert (artifacts / "report.html").read_bytes() == page.read_bytes()
    changed = (artifacts / "changes.patch").read_text()
    assert "secret" not in changed
    before = project.params_file.read_bytes()
    _git(project.root, "checkout", "--quiet", "params.yaml")
    assert project.params_file.read_bytes() != before
    _git(project.root, "apply", str(artifacts / "changes.patch"))
    assert project.params_file.read_bytes() == before


def test_a_key_in_an_env_file_that_git_tracks_is_not_among_the_changes(
    tracked: tuple[Project, MlflowClient, str],
):
    project, client, name = tracked
    (project.root / ".env").write_text("")
    _commit(project.root)
    (project.root / ".env").write_text("ANTHROPIC_API_KEY=secret")
    tracker_of(_open(project), pytest.fail).begin()
    (run,) = client.search_runs([_experiment_id(client, name)])
    assert run.data.tags["omniopd.git.changed"] == "true"
    assert [entry.path for entry in client.list_artifacts(run.info.run_id)] == ["config.json"]


def test_a_project_without_git_is_logged_too(tracked: tuple[Project, MlflowClient, str]):
    project, client, name = tracked
    tracker_of(_open(project), pytest.fail).begin()
    (run,) = client.search_runs([_experiment_id(client, name)])
    assert "mlflow.source.git.commit" not in run.data.tags
    assert [entry.path for entry in client.list_artifacts(run.info.run_id)] == ["config.json"]


def test_each_checkpoint_names_the_weights_that_it_came_from(
    tracked: tuple[Project, MlflowClient, str], monkeypatch: pytest.MonkeyPatch
):
    project, client, name = tracked
    run_plain(project.params_file)
    models = sorted(client.search_logged_models([_experiment_id(client, name)]), key=lambda model: model.name)
    weights = [model.tags["omniopd.weights"] for model in models]
    student = json.loads((project.run_dir() / "config.json").read_text())["inputs"]["student"]
    assert [model.tags["omniopd.parent"] for model in models] == [student, *weights[:-1]]
    assert weights == [
        _md5(project.run_dir() / "checkpoints" / f"round-000{round_}" / "model.safetensors")
        for round_ in (2, 4, 5)
    ]
    monkeypatch.setattr("omniopd.tracking.lookup.PAGE", 2)  # of MLflow's answers
    lookup = Lookup(load_params(project.params_file).tracking)
    assert lookup.checkpoints(lookup.find("omniopd-0")) == dict(zip((2, 4, 5), weights, strict=True))


def test_an_origin_that_could_not_be_logged_is_logged_at_the_next_start(
    tracked: tuple[Project, MlflowClient, str], monkeypatch: pytest.MonkeyPatch
):
    project, client, name = tracked
    warnings: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_artifact", _disk_full)
        tracker_of(_open(project), warnings.append).begin()
    (begun,) = client.search_runs([_experiment_id(client, name)])
    assert len(warnings) == 1
    assert "omniopd.recorded" not in begun.data.tags
    project.edit(rollout__num_shards=3)  # a param that cannot be changed in MLflow any more
    tracker_of(_open(project), pytest.fail).begin()
    (run,) = client.search_runs([_experiment_id(client, name)])
    assert run.info.run_id == begun.info.run_id
    assert run.data.tags["omniopd.recorded"] == "true"
    assert [entry.path for entry in client.list_artifacts(run.info.run_id)] == ["config.json"]
    assert len(_inputs(run, "prompts")) == len(run.inputs.dataset_inputs) == 2


def test_a_setting_too_long_for_mlflow_is_cut(tracked: tuple[Project, MlflowClient, str]):
    project, client, name = tracked
    project.edit(teacher__request={"note": "x" * 7000})
    tracker_of(_open(project), pytest.fail).begin()
    (run,) = client.search_runs([_experiment_id(client, name)])
    assert len(run.data.params["teacher.request.note"]) == 6000


def _open(project: Project) -> Run:
    layout = Layout(project.root)
    return open_run(start_run(load_params(project.params_file), "omniopd", 0, layout))


def _commit(root: Path) -> None:
    _git(root, "init", "--quiet")
    _git(root, "add", "params.yaml", *(name for name in (".env",) if (root / name).exists()))
    _git(root, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "--quiet", "-m", "settings")


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout


# --- the machine


@pytest.fixture
def sampled_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")


def _samplers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("SystemMetrics")]


def _until(condition, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


@pytest.mark.usefixtures("sampled_often")
def test_the_machine_is_sampled_during_a_run_and_sampling_resumes_with_it(
    tracked: tuple[Project, MlflowClient, str],
):
    project, client, name = tracked
    run = _open(project)
    for _ in range(2):
        run_tracker = tracker_of(run, pytest.fail)
        run_tracker.begin()
        assert len(_samplers()) == 1
        time.sleep(1.0)
        run_tracker.finish()
        assert _samplers() == []
    (tracked_run,) = client.search_runs([_experiment_id(client, name)])
    for metric in ("cpu_utilization_percentage", "system_memory_usage_megabytes"):
        steps = [
            point.step for point in client.get_metric_history(tracked_run.info.run_id, f"system/{metric}")
        ]
        assert len(steps) > 3
        assert steps == list(range(len(steps))), "no step twice"


@pytest.mark.usefixtures("sampled_often")
def test_sampling_ends_with_a_run_that_raises(tracked: tuple[Project, MlflowClient, str], monkeypatch):
    project, _, _ = tracked
    monkeypatch.setattr("flows.distill._one_round", _disk_full)
    with pytest.raises(OSError, match="disk full"):
        run_plain(project.params_file)
    assert _until(lambda: _samplers() == [])


@pytest.mark.usefixtures("sampled_often")
def test_sampling_that_stopped_with_the_store_starts_again_when_it_is_back(
    tracked: tuple[Project, MlflowClient, str], monkeypatch: pytest.MonkeyPatch
):
    project, _, _ = tracked
    run_tracker = tracker_of(_open(project), pytest.fail)
    run_tracker.begin()
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "get_run", _disk_full)
        assert _until(lambda: _samplers() == [])
    run_tracker.round_done(RoundRecord(0, {"loss": 1.0}, []))
    assert len(_samplers()) == 1
    run_tracker.finish()


@pytest.mark.slow
@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "KILLED"), (ValueError, "FAILED")])
def test_a_run_that_is_stopped_is_no_longer_running_in_mlflow_until_it_resumes(
    tracked: tuple[Project, MlflowClient, str], monkeypatch, error: type[BaseException], status: str
):
    project, client, name = tracked
    project.edit(train__num_rounds=2)
    one_round, seen = flows.distill._one_round, []

    def stopped(run, round_, *given):
        if round_ == 1:
            raise error
        return one_round(run, round_, *given)

    def seen_running(run, round_, *given):
        seen.append(client.search_runs([_experiment_id(client, name)])[0].info.status)
        return one_round(run, round_, *given)

    monkeypatch.setattr(flows.distill, "_one_round", stopped)
    with pytest.raises(error):
        run_plain(project.params_file)
    (run,) = client.search_runs([_experiment_id(client, name)])
    assert run.info.status == status
    assert run.info.end_time is not None
    monkeypatch.setattr(flows.distill, "_one_round", seen_running)
    run_plain(project.params_file)
    assert seen == ["RUNNING"]
    (again,) = client.search_runs([_experiment_id(client, name)])
    assert (again.info.run_id, again.info.status) == (run.info.run_id, "FINISHED")


def test_a_run_whose_process_was_killed_is_ended_by_prefects_hook_unless_another_resumes_it(
    tracked: tuple[Project, MlflowClient, str],
):
    project, client, name = tracked
    tracker_of(_open(project), pytest.fail).begin()
    lock = Layout(project.root).run("omniopd", 0).lock
    given = {"arm": "omniopd", "seed": 0, "overrides": None, "params_file": str(project.params_file)}
    ended = [(Crashed(), "FAILED"), (Cancelled(), "FAILED")]  # the first word counts
    for state, status in ended:
        lock.write_text("process 1 on another machine")
        end_in_mlflow(flows.distill.distill, FlowRun(flow_id=uuid4(), parameters=given), state)
        (run,) = client.search_runs([_experiment_id(client, name)])
        assert run.info.status == status

    tracker_of(_open(project), pytest.fail).begin()
    with only_writer(lock, of="runs/omniopd-0"):
        lock.write_text("process 1 on another machine")
        end_in_mlflow(flows.distill.distill, FlowRun(flow_id=uuid4(), parameters=given), Cancelled())
    (run,) = client.search_runs([_experiment_id(client, name)])
    assert run.info.status == "RUNNING"


def test_a_machine_that_cannot_be_sampled_stops_nothing(
    tracked: tuple[Project, MlflowClient, str], monkeypatch: pytest.MonkeyPatch
):
    project, client, name = tracked
    monkeypatch.setattr("psutil.net_io_counters", lambda: None)  # as where there is no network
    run_tracker = tracker_of(_open(project), pytest.fail)
    run_tracker.begin()
    run_tracker.round_done(RoundRecord(0, {"loss": 1.0}, []))
    run_tracker.finish()
    (run,) = client.search_runs([_experiment_id(client, name)])
    assert (run.info.status, run.data.metrics["loss"]) == ("FINISHED", 1.0)


@pytest.mark.slow
def test_a_process_that_forgets_to_close_ends_at_once(tracked: tuple[Project, MlflowClient, str]):
    project, _, _ = tracked
    _open(project)
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom omniopd.rounds.run import open_run\n"
        "from omniopd.tracking.track import tracker_of\n"
        "tracker = tracker_of(open_run(Path(sys.argv[1])), print)\ntracker.begin()\n"
        "assert tracker.run_id\nprint(time.time(), flush=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(project.run_dir())],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert time.time() - float(done.stdout.splitlines()[-1]) < 9  # the monitor sleeps for ten


# --- MLflow fails


def test_an_evaluation_is_logged_on_the_run_and_on_its_last_model(tracked: tuple[Project, MlflowClient, str]):
    from omniopd.evaluation.evaluate import evaluate
    from omniopd.tracking.track import track_evaluation

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


def test_a_run_continues_without_mlflow_and_warns_once(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    blocker = tmp_path / "blocker"
    blocker.write_text("a file where the store's folder should be")
    project.edit(tracking__enabled=True, tracking__uri=f"sqlite:///{blocker}/mlflow.db")
    run_plain(project.params_file)
    errors = capsys.readouterr().err
    assert errors.count("MLflow does not answer") == 1
    assert len((project.run_dir() / "metrics.jsonl").read_text().splitlines()) == 6


@pytest.mark.slow
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
    project, client, name = tracked
    warnings: list[str] = []
    run_tracker = tracker_of(_open(project), warnings.append)
    monkeypatch.setattr(tracker, "MAX_METRICS", 4)  # two rounds a batch
    sent = MlflowClient.log_batch
    calls = []

    def fail_second(self, run_id, metrics=(), **rest):
        if metrics and threading.current_thread() is threading.main_thread():
            calls.append(len(metrics))
            if len(calls) == 2:
                raise OSError("disk full")
        return sent(self, run_id, metrics=metrics, **rest)

    monkeypatch.setattr(MlflowClient, "log_batch", fail_second)
    run_tracker._next_try = float("inf")
    for round_ in range(6):
        run_tracker.round_done(RoundRecord(round_, {"loss": 1.0 / (round_ + 1)}, []))
    run_tracker.finish()
    assert calls == [4, 4]
    assert len(warnings) == 1
    run_tracker.finish()
    (tracked_run,) = client.search_runs([_experiment_id(client, name)])
    assert [point.step for point in client.get_metric_history(tracked_run.info.run_id, "loss")] == list(
        range(6)
    )


def test_a_checkpoint_that_could_not_be_logged_is_logged_later_though_no_round_is_pending(
    tracked: tuple[Project, MlflowClient, str], monkeypatch
):
    project, client, name = tracked
    run, warnings = _open(project), []
    run_tracker = tracker_of(run, warnings.append)
    run_tracker.round_done(RoundRecord(0, {"loss": 1.0}, []))
    run_tracker.checkpoint_done(Checkpoint(1, run.files.checkpoint(1), "digest", parent="student"))
    for failing in ("create_logged_model", "log_outputs", "finalize_logged_model"):
        with monkeypatch.context() as patch:
            patch.setattr(MlflowClient, failing, _disk_full)
            run_tracker.finish()
    assert len(warnings) == 1
    run_tracker.finish()
    (model,) = client.search_logged_models([_experiment_id(client, name)])
    assert (model.tags["omniopd.weights"], model.status) == ("digest", "READY")
    (tracked_run,) = client.search_runs([_experiment_id(client, name)])
    outputs = client.get_run(tracked_run.info.run_id).outputs.model_outputs
    assert [output.model_id for output in outputs] == [model.model_id]


def test_a_report_that_could_not_be_sent_is_sent_later_and_has_a_page_only_then(
    tracked: tuple[Project, MlflowClient, str], monkeypatch, tmp_path: Path
):
    project, client, name = tracked
    report = tmp_path / "omniopd-0.html"
    report.write_text("<p>é</p>", encoding="utf-8")
    warnings: list[str] = []
    run_tracker = tracker_of(_open(project), warnings.append)
    run_tracker.report_done(report)
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_text", _disk_full)
        run_tracker.finish()
    assert (len(warnings), run_tracker.report_page) == (1, "")
    (begun,) = client.search_runs([_experiment_id(client, name)])
    assert begun.info.status == "RUNNING"
    run_tracker.finish()
    (run,) = client.search_runs([_experiment_id(client, name)])
    assert run.info.status == "FINISHED"
    assert run_tracker.report_page.endswith(f"/runs/{run.info.run_id}/artifacts/report.html")
    artifact = Path(client.download_artifacts(run.info.run_id, "report.html", str(tmp_path)))
    assert artifact.read_bytes() == report.read_bytes()


def _disk_full(*_, **__):
    raise OSError("disk full")
