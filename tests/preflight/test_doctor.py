"""doctor: its findings on a working machine, and the remedy for each problem."""

import importlib.metadata
import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from projects import Project, make_project
from rich.console import Console
from teacher_mind import AdditionMind
from teacher_server import TeacherServer, running
from typer.testing import CliRunner

from omniopd.cli.app import app
from omniopd.cli.doctor import prefect_server
from omniopd.config import load_params
from omniopd.functional import has_kernels
from omniopd.preflight import doctor
from omniopd.report.doctor import Finding, doctor_line, doctor_table
from omniopd.teachers import loop

SECRET = "sk-never-shown-7781"


pytestmark = pytest.mark.usefixtures("restored_environment")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    return make_project(tmp_path).edit(arms={"omniopd": {"method": "omniopd"}})


def with_api_teacher(project: Project, url: str, **more) -> Project:
    return project.edit_paths({
        "teacher.kind": "api", "teacher.model": "hosted_vllm/demo", "teacher.base_url": url, "teacher.max_attempts": 1,
        **{f"teacher.{name}": value for name, value in more.items()},
    })  # fmt: skip


def teacher_findings(project: Project, *, ask: bool = True) -> dict[str, Finding]:
    findings = doctor.teacher(load_params(project.params_file), project.root, ask=ask)
    by_subject = {finding.subject: finding for finding in findings}
    loop.close()
    return by_subject


def test_all_that_a_run_needs_is_checked_and_a_machine_that_can_test_this_is_ok(project: Project):
    done = CliRunner().invoke(app, ["doctor", "--params", str(project.params_file), "--json"])

    findings = {line["subject"]: line for line in json.loads(done.stdout)}
    assert list(findings) == [
        "Python", "packages", "torch", "memory", "disk", "git", "DVC", "params.yaml", "MLflow", "teacher", "Prefect",
    ]  # fmt: skip
    assert done.exit_code == 0
    assert {line["state"] for line in findings.values()} <= {"ok", "doubt"}
    assert findings["packages"]["found"].endswith("in versions that fit together")
    assert not (project.root / "mlflow.db").exists()  # nothing is made


def test_without_params_the_machine_is_still_checked_and_the_exit_code_is_2(tmp_path: Path):
    done = CliRunner().invoke(app, ["doctor", "--params", str(tmp_path / "params.yaml"), "--json"])

    findings = {line["subject"]: line for line in json.loads(done.stdout)}
    assert done.exit_code == 2
    assert findings["params.yaml"]["state"] == "wrong"
    assert "params.yaml" in findings["params.yaml"]["found"]
    assert findings["Python"]["state"] == "ok"


def test_each_mistake_in_params_is_one_finding(project: Project):
    project.edit(train__lr=-1, rollout__num_prompts=0)

    findings = list(doctor.examine(project.params_file))

    assert [finding.state for finding in findings if finding.subject == "params.yaml"] == ["wrong", "wrong"]


def test_a_package_of_a_version_that_does_not_fit_is_named_with_what_fits(monkeypatch: pytest.MonkeyPatch):
    real = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "0.140.0" if name == "fastapi" else real(name)
    )

    finding = doctor.packages()

    assert finding.state == "wrong"
    assert finding.found == "fastapi 0.140.0, where <0.137,>=0.133 fits"
    assert "make setup" in finding.remedy


def test_a_missing_package_is_named_but_one_of_an_extra_may_be_missing(
    monkeypatch: pytest.MonkeyPatch,
):
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name in ("peft", "vllm", "ruff"):
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)

    assert doctor.packages().found == "peft is not installed"


def test_torch_without_a_gpu_is_wrong_where_a_driver_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor, "NVIDIA", tmp_path)

    assert next(doctor.torch_and_memory()).state == "wrong"
    monkeypatch.setattr(doctor, "NVIDIA", tmp_path / "none")
    assert next(doctor.torch_and_memory()).state == "ok"


@pytest.mark.parametrize(("compiler", "state"), [("gcc", "ok"), (None, "doubt")])
def test_a_gpu_without_a_c_compiler_is_a_doubt(
    monkeypatch: pytest.MonkeyPatch, compiler: str | None, state: str
):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(name="a GPU"))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr("shutil.which", lambda name: compiler if name == compiler else None)
    has_kernels.cache_clear()
    try:
        finding = next(doctor.torch_and_memory())
    finally:
        has_kernels.cache_clear()

    assert finding.state == state
    assert ("gcc" in (finding.remedy or "")) == (state == "doubt")


def test_a_disk_that_is_nearly_full_is_a_doubt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(doctor, "LEAST_FREE", 10**18)

    assert doctor.disk(tmp_path).state == "doubt"


def test_a_folder_without_git_and_dvc_is_a_doubt_with_what_to_do(tmp_path: Path):
    for finding in (doctor.commit(tmp_path), doctor.data_versions(tmp_path)):
        assert finding.state == "doubt"
        assert " init" in finding.remedy


def test_an_mlflow_server_that_does_not_answer_is_a_doubt(project: Project):
    project.edit(tracking__uri="http://127.0.0.1:9")

    finding = doctor.tracking(load_params(project.params_file))

    assert finding.state == "doubt"
    assert finding.found.startswith("http://127.0.0.1:9: ")
    assert "tracking.uri" in finding.remedy


def test_a_teacher_that_answers_is_reported_with_the_cost_of_the_question(project: Project):
    with running(TeacherServer(AdditionMind())) as server:
        with_api_teacher(project, server.url)
        findings = teacher_findings(project)

    assert findings["key"].found == "none is needed"
    assert findings["teacher"].state == "ok"
    assert "hosted_vllm/demo answers: a question took" in findings["teacher"].found
    assert not (project.root / "teacher.sqlite").exists()


def test_a_teacher_is_not_asked_where_that_is_not_wanted(project: Project):
    with_api_teacher(project, "http://127.0.0.1:9/v1")

    assert teacher_findings(project, ask=False)["teacher"].found == "hosted_vllm/demo: was not asked"


def test_a_teacher_that_cannot_be_reached_is_wrong_and_no_key_is_shown(
    project: Project, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OWN_KEY", SECRET)
    with_api_teacher(project, "http://127.0.0.1:9/v1", api_key_env="OWN_KEY")

    findings = teacher_findings(project)

    assert findings["key"].found == "set"
    assert findings["teacher"].state == "wrong"
    assert SECRET not in str(findings)


def test_a_key_that_is_not_set_is_named_before_anyone_is_asked(
    project: Project, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    project.edit(teacher__kind="api", teacher__model="anthropic/claude-haiku-4-5")

    findings = teacher_findings(project)

    assert list(findings) == ["key"]
    assert findings["key"].state == "wrong"
    assert "ANTHROPIC_API_KEY" in findings["key"].found
    (project.root / ".env").write_text(f"ANTHROPIC_API_KEY={SECRET}\n")
    assert teacher_findings(project, ask=False)["key"].state == "ok"


def test_a_prefect_server_that_is_named_and_does_not_answer_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("omniopd.cli.doctor.WAIT_S", 0.1)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert prefect_server(tmp_path).state == "wrong"
    monkeypatch.delenv("PREFECT_API_URL")
    assert prefect_server(tmp_path).state == "ok"


def test_the_table_shows_remedies_and_square_brackets_to_the_letter():
    console = Console(width=100, record=True, file=io.StringIO())
    findings = [Finding("packages", "wrong", "omniopd[vllm] is not there", "pip install 'omniopd[vllm]'")]

    console.print(doctor_table(findings))

    text = console.export_text()
    assert "omniopd[vllm] is not there" in text
    assert "→ pip install 'omniopd[vllm]'" in text


@pytest.mark.parametrize(
    ("states", "line"),
    [
        (["ok", "ok"], "all is well"),
        (["ok", "doubt"], "nothing is wrong; 1 of 2 to check"),
        (["wrong", "doubt"], "1 of 2 wrong"),
    ],
)
def test_the_last_line_counts(states: list, line: str):
    assert doctor_line([Finding("it", state, "found") for state in states]).startswith(line)
