"""The pipeline of dvc.yaml, from an empty folder to a comparison, by `dvc repro` as a user runs it."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dvc_projects import ENVIRONMENT, dvc, under_dvc
from mlflow import MlflowClient
from projects import REPOSITORY, Project, make_project

from omniopd.config import load_params
from omniopd.data.layout import Layout
from omniopd.report.compare import compare

pytestmark = pytest.mark.slow

RUNS = [("omniopd", 0), ("omniopd-baseline", 0), ("random", 0)]


@pytest.fixture(scope="module")
def reproduced(warm: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A tiny project of two arms, one of them swept, and an ablation of it; reproduced once from nothing."""
    project = make_project(tmp_path_factory.mktemp("dvc") / "project")
    project.edit(
        train__num_rounds=2,
        train__checkpoint_every=1,
        train__validate_every=1,
        tracking__enabled=True,
        ablation_seeds=[0],
        comparison__against="omniopd",
        benchmarks__suite=["gsm8k"],
        benchmarks__files={"gsm8k": "sums.jsonl"},
        benchmarks__max_new_tokens=4,
        arms__omniopd={"method": "omniopd", "lr_of": "omniopd"},
        ablations={"random": {"method": "omniopd", "lr_of": "omniopd", "settings": {"selection": "random"}}},
    )
    rows = [{"question": f"{i}+1=", "answer": f"#### {i + 1}"} for i in range(8)]
    (project.root / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    under_dvc(project)
    (project.root / "learning_rates.json").unlink()  # the sweep's to make
    shutil.copytree(REPOSITORY / ".dvc" / "plots", project.root / ".dvc" / "plots")
    dvc(project, "repro", commands=warm)
    return project


def test_the_pipeline_ends_with_a_record_per_run(reproduced: Project):
    records = json.loads((reproduced.root / "metrics" / "comparison.json").read_text())
    assert [(record["arm"], record["seed"]) for record in records] == RUNS
    for record in records:
        for when in ("before", "after"):
            for how in ("greedy", "sampled"):
                measured = record[when][how]
                assert measured["num_prompts"] == 12
                low, high = measured["interval"]
                assert 0 <= low <= measured["accuracy"] <= high <= 1
            assert record[when]["fork_entropy"].keys() == {"student", "teacher"}
        assert record["student_tokens"] > 0
        assert record["teacher_tokens"] > 0
        assert set(record["seconds"]) == {"validate", "roll out", "schedule", "verify", "train"}


def test_every_run_is_measured_on_the_benchmarks_before_and_after(reproduced: Project):
    """Arms of a seed start from one student, which is measured once."""
    for arm, seed in RUNS:
        record = json.loads((reproduced.root / "metrics" / "evaluation" / f"{arm}-{seed}.json").read_text())
        for when in ("before", "after"):
            folder = reproduced.root / "metrics" / "benchmarks" / f"{arm}-{seed}" / when
            assert json.loads((folder / "gsm8k.json").read_text()) == record[when]["benchmarks"]["gsm8k"]
            assert record[when]["benchmarks"]["gsm8k"]["num_items"] == 8
            assert (folder / "gsm8k.parquet").is_file()
    assert len([path for path in reproduced.root.glob(".cache/benchmarks/*") if path.is_dir()]) == 1 + len(
        RUNS
    )
    client = MlflowClient(f"sqlite:///{reproduced.root / 'mlflow.db'}")
    [experiment] = [experiment for experiment in client.search_experiments() if experiment.name == "omniopd"]
    last = [
        logged
        for logged in client.search_logged_models([experiment.experiment_id])
        if logged.params["round"] == "2"
    ]
    assert len(last) == len(RUNS)
    for model in last:
        names = {metric.key for metric in model.metrics or []}
        assert {"benchmark/gsm8k/pass_at_1/before", "benchmark/gsm8k/pass_at_1/after"} < names


def test_the_rate_that_the_sweep_found_best_is_the_one_that_runs_take(reproduced: Project):
    sweep = json.loads((reproduced.root / "sweeps" / "omniopd-100.json").read_text())
    assert [entry["lr"] for entry in sweep["tried"]] == [0.001, 0.002]
    best = max(sweep["tried"], key=lambda entry: (entry["greedy"], -entry["lr"]))["lr"]
    assert json.loads((reproduced.root / "learning_rates.json").read_text()) == {
        "omniopd": best,
        "omniopd-baseline": None,
        "random": best,
    }
    rates = {"omniopd": best, "omniopd-baseline": 5e-4, "random": best}
    for arm, seed in RUNS:
        config = json.loads((reproduced.run_dir(arm, seed) / "config.json").read_text())
        assert config["settings"]["train"]["lr"] == rates[arm]


def test_the_runs_share_a_comparison_and_each_arm_has_a_best_checkpoint(reproduced: Project):
    client = MlflowClient(f"sqlite:///{reproduced.root / 'mlflow.db'}")
    names = {experiment.name: experiment.experiment_id for experiment in client.search_experiments()}
    runs = client.search_runs([names["omniopd"]])
    assert sorted(run.info.run_name for run in runs) == [f"{arm}-{seed}" for arm, seed in sorted(RUNS)]
    assert len({run.data.tags["omniopd.comparison"] for run in runs}) == 1
    assert all(run.info.status == "FINISHED" for run in runs)
    assert len(client.search_runs([names["omniopd-sweep"]])) == 2
    for arm in ("omniopd", "omniopd-baseline", "random"):
        version = client.get_model_version_by_alias(f"omniopd.{arm}", "best")
        weights = Path(version.source.removeprefix("file://")) / "model.safetensors"
        assert hashlib.md5(weights.read_bytes()).hexdigest() == version.tags["omniopd.weights"]
        best = float(version.tags["omniopd.validation_greedy"])
        lines = (reproduced.run_dir(arm) / "metrics.jsonl").read_text().splitlines()
        assert max(json.loads(line)["validation/greedy"] for line in lines[1:]) == best  # of the checkpoints


def test_the_markdown_table_has_a_row_an_arm(reproduced: Project):
    text = (reproduced.root / "metrics" / "comparison.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == ["omniopd", "omniopd-baseline", "random"]
    assert "| gsm8k |" in text
    assert "`gsm8k`: Pass@1, before → after." in text
    assert len({row.count("|") for row in text.splitlines() if row.startswith("|")}) == 1


def test_nothing_is_done_a_second_time_nor_after_some_runs_were_compared(reproduced: Project):
    compare(load_params(reproduced.params_file), Layout(reproduced.root), arms=["omniopd"])  # as make demo
    assert "Data and pipelines are up to date" in dvc(reproduced, "repro")
    assert "Data and pipelines are up to date" in dvc(reproduced, "status")


def test_the_settings_of_one_arm_rerun_that_arm_alone(reproduced: Project):
    before = reproduced.params_file.read_text()
    try:
        reproduced.edit_paths({"arms.omniopd-baseline.train.lr": 3e-4})
        dvc(reproduced, "repro", "resolve")  # in a second; `--dry` does not
        plan = dvc(reproduced, "repro", "--dry")
        assert "Running stage 'distill@omniopd-baseline-0'" in plan
        assert "Running stage 'distill@omniopd-0'" not in plan
        assert "Running stage 'ablate" not in plan
        assert "Running stage 'sweep@omniopd-100'" not in plan
        assert "Running stage 'base" not in plan
        reproduced.edit_paths({"alarms.cut_share": 0.4, "arms.omniopd-baseline.train.lr": 5e-4})
        dvc(reproduced, "repro", "resolve")
        assert "Data and pipelines are up to date" in dvc(reproduced, "status")
    finally:
        reproduced.params_file.write_text(before)
        dvc(reproduced, "repro", "resolve")


@pytest.mark.parametrize("arm", ["omniopd", "omniopd-baseline"])
def test_an_experiment_with_one_arm_sweeps_nothing(reproduced: Project, arm: str):
    """The rate is that of learning_rates.json, in git; `dvc repro` alone sweeps, before it distils."""
    before = reproduced.params_file.read_text()
    try:
        reproduced.edit(train__num_rounds=3)
        dvc(reproduced, "repro", "resolve")
        plan = dvc(reproduced, "repro", "--dry", f"distill@{arm}-0")
        assert f"Running stage 'distill@{arm}-0'" in plan
        assert "sweep" not in plan
        assert "rates" not in plan
        stages = dvc(reproduced, "repro", "--dry", "--force").split("Running stage ")[1:]
        names = [stage.split("'")[1] for stage in stages]
        assert names.index("sweep@omniopd-100") < names.index("rates") < names.index(f"distill@{arm}-0")
    finally:
        reproduced.params_file.write_text(before)
        dvc(reproduced, "repro", "resolve")


def test_metrics_and_plots_are_shown(reproduced: Project):
    shown = json.loads(dvc(reproduced, "metrics", "show", "--json"))[""]["data"]
    for record in json.loads((reproduced.root / "metrics" / "comparison.json").read_text()):
        heldout = shown[f"metrics/heldout/{record['arm']}-{record['seed']}.json"]["data"]
        assert heldout["greedy"]["after"] == record["after"]["greedy"]["accuracy"]
        assert heldout["sampled"]["before"] == record["before"]["sampled"]["accuracy"]
        assert heldout["teacher_tokens"] == record["teacher_tokens"]
    dvc(reproduced, "plots", "show", "--out", "shown")
    page = (reproduced.root / "shown" / "index.html").read_text()
    assert "Greedy accuracy on validation prompts" in page
    for arm in ("omniopd", "omniopd-baseline", "random", "omniopd (floor)"):
        assert f'"arm": "{arm}"' in page


def test_what_dvc_versions_is_what_the_manifests_name(reproduced: Project):
    lock = (reproduced.root / "dvc.lock").read_text()
    for stage in ("trajectories", "verdicts", "manifests", "checkpoints"):
        assert f"runs/omniopd-0/{stage}" in lock
    manifest = json.loads((reproduced.run_dir() / "manifests" / "round-0001.json").read_text())
    for digest in manifest["files"].values():
        cached = reproduced.root / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]
        assert cached.is_file(), "a manifest's digest is DVC's own object key"


def test_the_tables_are_whole_in_a_terminal_of_80_columns(reproduced: Project):
    done = subprocess.run(
        [sys.executable, "-c", "from omniopd.cli.app import main; main()", "table"],
        cwd=reproduced.root,
        env={**ENVIRONMENT, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Accuracy on 12 held-out prompts" in done.stdout
    assert "omniopd-baseline" in done.stdout
    assert "Where the time went: prepare" in done.stdout
    assert "…" not in done.stdout
    for record in json.loads((reproduced.root / "metrics" / "comparison.json").read_text()):
        for how in ("greedy", "sampled"):
            assert f"{record['after'][how]['accuracy']:.3f}" in done.stdout
        assert str(record["teacher_tokens"]) in done.stdout, "below a thousand it is written out"
