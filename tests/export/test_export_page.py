"""docs/export.md: its code loads an export, and lm_eval measures it."""

import json
import os
import re
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from projects import REPOSITORY, Project

from omniopd.export.folders import export_run

PAGE = (REPOSITORY / "docs" / "export.md").read_text(encoding="utf-8")
FOLDER = "exports/omniopd-fork-0"  # as the page names it


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)


@pytest.fixture
def exported(chatting: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that chats, and its data, where the page has them."""
    monkeypatch.chdir(tmp_path)
    export_run(chatting.run_dir("adapted"), Path(FOLDER), merge=True, with_data=True)
    return tmp_path


@pytest.mark.usefixtures("exported")
def test_transformers_loads_an_export_by_the_code_of_the_page(capsys: pytest.CaptureFixture[str]):
    [code] = [block for block in blocks("python") if "transformers" in block]
    names: dict = {}

    exec(compile(code, "export.md", "exec"), names)

    assert capsys.readouterr().out.endswith("\n")
    assert names["output"].shape[1] > names["inputs"]["input_ids"].shape[1]


def test_datasets_loads_the_data_by_the_code_of_the_page(
    finished_project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import datasets.config

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    export_run(finished_project.run_dir(), Path(FOLDER), with_data=True)
    [code] = [block for block in blocks("python") if "load_dataset" in block]
    names: dict = {}

    exec(compile(code, "export.md", "exec"), names)

    assert len(names["verdicts"]) > 0


TASK = """\
task: sums
dataset_path: json
dataset_kwargs: {{ data_files: {{ test: {items} }} }}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{ until: ["\\n"], max_gen_toks: 8, do_sample: false }}
metric_list: [{{ metric: exact_match, aggregation: mean, higher_is_better: true }}]
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_lm_eval_measures_an_export_by_the_command_of_the_page(exported: Path):
    """lm_eval is installed into a new environment on top of this one; its task needs no download."""
    [lines] = [block for block in blocks("bash") if "lm_eval" in block]
    install, measure = (shlex.split(line) for line in lines.splitlines())
    tools = _environment(exported / "environment", install)
    (exported / "items.jsonl").write_text(
        "".join(f'{{"question": "{n}+2=", "answer": "{n + 2}"}}\n' for n in range(4))
    )
    (exported / "sums.yaml").write_text(TASK.format(items=exported / "items.jsonl"))
    command = ["sums" if word == "gsm8k" else word for word in measure]

    done = subprocess.run(
        [tools / command[0], *command[1:], "--include_path", ".", "--device", "cpu", "--output_path", "results"],
        env={**os.environ, "HF_HOME": str(exported / "cache")}, capture_output=True, text=True, timeout=1200,
        check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr[-2000:]
    [results] = (exported / "results").rglob("results_*.json")
    content = json.loads(results.read_text())
    assert content["n-samples"]["sums"]["effective"] == 4
    assert content["chat_template"], "it asks with the chat template of the folder"
    assert 0 <= content["results"]["sums"]["exact_match,none"] <= 1


def _environment(folder: Path, install: list[str]) -> Path:
    """The bin folder of a new environment with these packages; whatever they share with this one is not installed."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=300)
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "below.pth").write_text(sysconfig.get_path("purelib"))
    pip = [folder / "bin" / "pip", *install[1:], "--quiet", "--disable-pip-version-check", "--retries", "1"]
    done = subprocess.run(pip, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode != 0:
        pytest.skip(f"pip cannot install lm_eval here: {done.stderr.strip().splitlines()[-1]}")
    return folder / "bin"
