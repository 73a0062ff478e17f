"""evaluate and compare: entropies at the forks, mean curves, the comparison in MLflow."""

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient
from projects import Project, run_plain

from omniopd.config import load_params
from omniopd.data.layout import Layout
from omniopd.errors import ConfigError, DataError
from omniopd.evaluation.evaluate import evaluate
from omniopd.evaluation.sharpness import NUM_FORKS, entropy_at, forks_of, sampled_rows
from omniopd.models.loading import load_model
from omniopd.report.compare import compare, mean_curves
from omniopd.rounds.pool import ModelPool
from omniopd.rounds.run import open_run
from omniopd.rounds.start import start_run
from omniopd.sampling.responses import in_process
from omniopd.sampling.samplers import Student
from omniopd.tracking.track import track_comparison


def point(round_: int, value: float, tokens: int) -> dict[str, float]:
    return {"round": round_, "teacher_tokens": tokens, "value": value}


# --- curves


def test_a_curve_is_the_mean_over_the_seeds_of_an_arm_with_the_lowest_and_the_highest():
    evaluations = [
        {"arm": "a", "seed": 0, "curves": {"loss": [point(0, 1.0, 0), point(5, 0.5, 10)]}},
        {"arm": "a", "seed": 1, "curves": {"loss": [point(0, 2.0, 0), point(5, 0.5, 20)]}},
        {"arm": "b", "seed": 0, "curves": {"loss": [point(0, 7.0, 0)]}},
        {"arm": "c", "seed": 0, "curves": {"loss": []}},
    ]

    first, second, third = mean_curves(evaluations, "loss", " (floor)")

    assert (first["arm"], first["round"], first["value"]) == ("a (floor)", 0, 1.5)
    assert (first["low"], first["high"]) == (1.0, 2.0)
    assert (second["teacher_tokens"], second["low"], second["high"]) == (15, 0.5, 0.5)
    assert (third["arm"], third["low"], third["value"], third["high"]) == ("b (floor)", 7.0, 7.0, 7.0)


# --- entropies


def test_entropies_are_those_of_the_least_sure_positions(project: Project):
    params, layout = load_params(project.params_file), Layout(project.root)
    run = open_run(start_run(params, "omniopd", 0, layout))
    student, teacher = load_model(run.model_path("student")), load_model(run.model_path("teacher"))
    prompts = run.prompts("heldout")

    size = run.config.rollout.batch_size
    rows = sampled_rows(
        in_process(Student(student, run.models.chat, "w"), batch_size=size), prompts, run.config
    )
    forks, student_entropy = forks_of(student, rows, batch_size=size)
    assert all(len(fork.positions) == min(NUM_FORKS, len(fork.row.response_ids)) for fork in forks)
    assert entropy_at(student, forks, batch_size=size) == pytest.approx(student_entropy, abs=1e-6)
    assert entropy_at(teacher, forks, batch_size=size) != pytest.approx(student_entropy, abs=1e-3)
    assert forks_of(student, [], batch_size=size) == ([], None)
    with torch.no_grad():
        uniform = load_model(run.model_path("student"))
        uniform.lm_head.weight.zero_()
    vocab_size = uniform.config.vocab_size
    assert entropy_at(uniform, forks, batch_size=size) == pytest.approx(
        torch.tensor(float(vocab_size)).log().item(), rel=1e-5
    )


def test_a_teacher_of_another_vocabulary_is_not_read(project: Project):
    params, layout = load_params(project.params_file), Layout(project.root)
    run = open_run(start_run(params, "omniopd", 0, layout))
    assert ModelPool(run).readable_teacher() is not None

    tokenizer = project.root / "models" / "seed-0" / "teacher" / "tokenizer.json"
    content = json.loads(tokenizer.read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["0"], vocabulary["1"] = vocabulary["1"], vocabulary["0"]
    tokenizer.write_text(json.dumps(content))

    assert run.models.readable_teacher() is None


# --- the comparison of finished runs


@pytest.fixture(scope="module")
def finished(base_project: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Two evaluated runs, tracked; not to be written to but by `compare`."""
    project = base_project.copied_to(tmp_path_factory.mktemp("compare") / "project")
    project.edit(
        tracking__enabled=True,
        tracking__uri=f"sqlite:///{project.root}/mlflow.db",
        train__num_rounds=3,
        train__checkpoint_every=1,
        train__validate_every=1,
        comparison__against="omniopd",
    )
    for arm in ("omniopd", "omniopd-baseline"):
        run_plain(project.params_file, arm)
        evaluate(arm, 0, Layout(project.root))
    return project


def compared(project: Project, warnings: list[str], **chosen: Any) -> None:
    layout = Layout(project.root)
    evaluations, _ = compare(load_params(project.params_file), layout, **chosen)
    track_comparison(evaluations, layout, warn=warnings.append)


@pytest.mark.slow
def test_the_comparison_of_all_runs_of_some_and_in_mlflow(finished: Project):
    warnings: list[str] = []
    compared(finished, warnings)

    records = json.loads((finished.root / "metrics" / "comparison.json").read_text())
    assert [record["arm"] for record in records] == ["omniopd", "omniopd-baseline"]
    for record in records:
        assert "curves" not in record
        lines = (finished.run_dir(record["arm"]) / "metrics.jsonl").read_text().splitlines()
        rounds = [json.loads(line) for line in lines]
        assert record["steps"] == len(rounds) - 1  # the last line measures, and takes none
        assert record["trained_tokens"] == sum(row.get("trained_tokens", 0) for row in rounds)
        assert record["lr"] == {"omniopd": 2e-4, "omniopd-baseline": 5e-4}[record["arm"]]
    with (finished.root / "plots" / "validation_greedy.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["arm"], row["round"]) for row in rows] == [
        (arm, str(round_)) for arm in ("omniopd", "omniopd-baseline") for round_ in range(4)
    ]
    tokens = (finished.root / "plots" / "over_teacher_tokens.csv").read_text()
    assert tokens == (finished.root / "plots" / "validation_greedy.csv").read_text()  # both buy
    with (finished.root / "plots" / "agreement.csv").open() as file:
        assert {row["arm"] for row in csv.DictReader(file)} == {
            f"{arm}{floor}" for arm in ("omniopd", "omniopd-baseline") for floor in ("", " (floor)")
        }

    client = MlflowClient(f"sqlite:///{finished.root}/mlflow.db")
    first = _best(client, finished)
    compared(finished, warnings)  # again: the same versions
    assert _best(client, finished) == first
    assert warnings == []
    tags = {run.data.tags["omniopd.comparison"] for run in _runs(client)}
    assert len(tags) == 1

    compared(finished, warnings, arms=["omniopd-baseline"])  # some alone
    [record] = json.loads((finished.root / "metrics" / "subset" / "comparison.json").read_text())
    assert record["arm"] == "omniopd-baseline"
    assert (finished.root / "metrics" / "subset" / "comparison.md").exists()
    assert (finished.root / "metrics" / "subset" / "plots" / "validation_greedy.csv").exists()
    assert json.loads((finished.root / "metrics" / "comparison.json").read_text()) == records  # DVC's
    assert (finished.root / "plots" / "over_teacher_tokens.csv").read_text() == tokens
    by_name = {run.info.run_name: run.data.tags["omniopd.comparison"] for run in _runs(client)}
    assert {by_name["omniopd-0"]} == tags
    assert by_name["omniopd-baseline-0"] not in tags


def _runs(client: MlflowClient) -> list[Any]:
    experiment = client.get_experiment_by_name("omniopd")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def _best(client: MlflowClient, project: Project) -> dict[str, str]:
    """The version of each arm's best checkpoint, whose weights are those of the highest accuracy."""
    versions = {}
    for arm in ("omniopd", "omniopd-baseline"):
        version = client.get_model_version_by_alias(f"omniopd.{arm}", "best")
        weights = Path(version.source.removeprefix("file://")) / "model.safetensors"
        assert hashlib.md5(weights.read_bytes()).hexdigest() == version.tags["omniopd.weights"]
        lines = (project.run_dir(arm) / "metrics.jsonl").read_text().splitlines()
        of_checkpoints = {row["round"]: row["validation/greedy"] for row in map(json.loads, lines[1:])}
        best = max(of_checkpoints.values())
        assert float(version.tags["omniopd.validation_greedy"]) == best
        assert of_checkpoints[int(version.tags["omniopd.round"])] == best
        versions[arm] = version.version
    return versions


@pytest.mark.slow
def test_arms_and_seeds_of_which_there_is_no_run_are_named(finished: Project):
    with pytest.raises(
        ConfigError, match=r"--arm omniopd --seed 7: .* no such run; it has the arms omniopd, omni"
    ):
        compare(load_params(finished.params_file), Layout(finished.root), arms=["omniopd"], seeds=[7])


@pytest.mark.slow
def test_a_run_that_was_not_evaluated_is_named(finished: Project, tmp_path: Path):
    finished = finished.copied_to(tmp_path / "copy")
    (finished.root / "metrics" / "evaluation" / "omniopd-0.json").unlink()

    with pytest.raises(DataError, match=r"omniopd-0\.json: does not exist; make it with `omniopd evaluate"):
        compare(load_params(finished.params_file), Layout(finished.root))


@pytest.mark.slow
def test_a_comparison_continues_without_mlflow_and_warns_once(finished: Project, tmp_path: Path):
    finished = finished.copied_to(tmp_path / "copy")
    settings = finished.run_dir() / "config.json"
    content = json.loads(settings.read_text())
    content["settings"]["tracking"]["uri"] = f"sqlite:///{tmp_path}/broken.db"
    settings.write_text(json.dumps(content))
    (tmp_path / "broken.db").write_bytes(b"not a database")
    (finished.root / "metrics" / "comparison.md").unlink(missing_ok=True)
    warnings: list[str] = []

    compared(finished, warnings)

    assert len(warnings) == 1
    assert warnings[0].startswith("MLflow does not answer")
    assert (finished.root / "metrics" / "comparison.md").exists()
