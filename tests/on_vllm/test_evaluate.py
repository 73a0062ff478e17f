"""`omniopd evaluate` of a model on vLLM's engine: what transformers writes, measured as another's work."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from examples_student import ENGINE
from projects import Project, make_project
from text_models import save_text_model

from omniopd.data.records import ItemResult
from omniopd.data.store import read_json, read_records

SETTINGS = {**ENGINE, "max_model_len": 1024}
FOLDER = Path("metrics/benchmarks/tiny")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Settings, six sums, and an untrained model with heads of the size that vLLM's build for the CPU needs."""
    made = make_project(tmp_path / "project")
    save_text_model(made.root / "tiny", head_dim=32, init_std=0.5)
    rows = [{"question": f"{i}+10=", "answer": f"#### {i + 10}"} for i in range(6)]
    (made.root / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return made


def evaluate(project: Project) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            Path(sys.executable).with_name("omniopd"), "evaluate", "--model", "./tiny", "--suite", "gsm8k",
            "--file", "gsm8k=sums.jsonl", "--temperature", "0", "--max-new-tokens", "12", "--json",
        ],
        cwd=project.root, env={**os.environ, "COLUMNS": "100"}, capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip


def measured(project: Project) -> tuple[dict, list[ItemResult]]:
    done = evaluate(project)
    assert done.returncode == 0, done.stderr
    folder = project.root / FOLDER
    return read_json(folder / "gsm8k.json"), read_records(folder / "gsm8k.parquet", ItemResult)


@pytest.mark.timeout(600)
def test_a_model_is_measured_on_vllm_as_on_transformers(project: Project):
    record, results = measured(project)
    project.edit(rollout__engine="vllm", rollout__engine_settings=SETTINGS)

    served_record, served = measured(project)

    assert len(results) == 6
    assert len({item.response for item in results}) > 1
    assert served == results
    assert served_record.pop("key") != record.pop("key")
    assert served_record == record


@pytest.mark.timeout(300)
def test_settings_that_vllm_does_not_take_are_named(project: Project):
    project.edit(rollout__engine="vllm", rollout__engine_settings={**SETTINGS, "max_model_len": 100_000})

    done = evaluate(project)

    assert done.returncode == 2
    assert "rollout.engine_settings: vLLM does not start with" in done.stderr
    assert "100000" in done.stderr
    assert not (project.root / FOLDER).exists()
