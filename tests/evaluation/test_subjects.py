"""A model of a directory on benchmarks: figures in MLflow, warnings and errors."""

from pathlib import Path

import pytest
from mlflow import MlflowClient
from projects import Project
from scripted_models import results
from text_models import save_text_model

from omniopd.config import load_params
from omniopd.data.layout import Layout
from omniopd.errors import ModelError
from omniopd.evaluation.subjects import folder_of, measure_model
from omniopd.evaluation.suites import Measured


@pytest.fixture
def text_project(project: Project, sums: Path) -> Project:
    save_text_model(project.root / "tiny")
    return project.edit(
        benchmarks__suite=["gsm8k"], benchmarks__files={"gsm8k": str(sums)}, benchmarks__max_new_tokens=8,
        tracking__enabled=True,
    )  # fmt: skip


def _measure_model(
    project: Project, name: str = "tiny", *, uri: str = ""
) -> tuple[list[Measured], list[str]]:
    warnings: list[str] = []
    params, layout = load_params(project.params_file), Layout(project.root)
    params = params.model_copy(
        update={
            "tracking": params.tracking.model_copy(
                update={"uri": uri or f"sqlite:///{project.root}/mlflow.db"}
            )
        }
    )
    return measure_model(name, params, layout, on_items=lambda *_: None, warn=warnings.append), warnings


def test_a_model_is_measured_and_logged_to_mlflow_with_its_figures(text_project: Project):
    [result], warnings = _measure_model(text_project)

    assert warnings == []
    assert {item.num_tokens for item in results(result)} <= set(range(1, 9))
    client = MlflowClient(f"sqlite:///{text_project.root}/mlflow.db")
    experiment = client.get_experiment_by_name("omniopd")
    assert experiment is not None
    [model] = client.search_logged_models([experiment.experiment_id])
    assert (model.name, model.tags["omniopd.weights"]) == ("tiny", result.record["weights"])
    figures = {metric.key: metric.value for metric in model.metrics or []}
    assert figures["benchmark/gsm8k/pass_at_1"] == result.record["mean"]
    assert figures["benchmark/gsm8k/cut_share"] == result.record["cut_share"]
    [run] = client.search_runs([experiment.experiment_id])
    assert [file.path for file in client.list_artifacts(run.info.run_id, "benchmarks")] == [
        "benchmarks/gsm8k.parquet"
    ]


@pytest.mark.slow
def test_a_model_that_is_measured_again_is_in_mlflow_once_as_is_each_figure(text_project: Project):
    _measure_model(text_project)
    _measure_model(text_project)

    client = MlflowClient(f"sqlite:///{text_project.root}/mlflow.db")
    experiment = client.get_experiment_by_name("omniopd")
    assert experiment is not None
    assert len(client.search_logged_models([experiment.experiment_id])) == 1
    [run] = client.search_runs([experiment.experiment_id])
    assert len(client.get_metric_history(run.info.run_id, "benchmark/gsm8k/pass_at_1")) == 1


def test_mlflow_that_does_not_answer_is_a_warning_and_the_figures_are_written(text_project: Project):
    [result], warnings = _measure_model(text_project, uri="http://127.0.0.1:9")

    assert result.results.exists()
    assert len(warnings) == 1
    assert warnings[0].startswith("MLflow does not answer (")
    assert "the same command sends it" in warnings[0]


@pytest.mark.slow
def test_a_model_without_a_chat_template_is_measured_on_the_raw_prompts_with_a_warning(
    text_project: Project,
):
    save_text_model(text_project.root / "base", chat_template=None)

    [result], warnings = _measure_model(text_project, "base")

    assert len(warnings) == 1
    assert "has no chat template" in warnings[0]
    assert result.record["num_items"] == 10


def test_a_model_that_is_not_there_is_refused(text_project: Project):
    with pytest.raises(ModelError, match="no such model directory"):
        _measure_model(text_project, "./nowhere")


@pytest.mark.parametrize(
    ("name", "folder"),
    [("Qwen/Qwen3-1.7B", "Qwen--Qwen3-1.7B"), ("./tiny", "tiny"), ("/a/b/c", "a--b--c"), ("../x", "x")],
)
def test_results_are_stored_under_the_name_of_the_model(name: str, folder: str):
    assert folder_of(name) == folder
