"""check: the plan, the warnings, and mistakes in params.yaml."""

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from checked import ARMS, listing, refusal, warnings_of
from projects import Project, make_project

from omniopd.errors import ConfigError, DataError, ModelError
from omniopd.preflight.check import check

# --- the plan


def test_the_plan_of_the_demo_names_prompts_models_arms_rounds_and_seeds(tmp_path: Path):
    project = make_project(tmp_path).edit(seeds=[0, 1], rollout__num_samples=2, arms=ARMS)

    _, warnings, plan = check(project.params_file)

    assert warnings == []
    assert plan == [
        "prompts   addition: 40 to train, 6 for validation, 12 held out",
        "student   demo, trained by `omniopd base`",
        "teacher   demo, trained by `omniopd base`, kind transformers",
        "arm       omniopd (omniopd): 5 rounds of 24 responses, lr 0.0002, "
        "4 replies of 2 tokens a chunk; seeds 0, 1",
        "arm       omniopd-baseline (omniopd): 5 rounds of 24 responses, lr 0.0005, "
        "3 replies of 2 tokens a chunk; seeds 0, 1",
    ]


def test_the_plan_names_the_file_of_prompts_and_the_models(local_project: Project):
    _, _, plan = check(local_project.params_file)

    assert plan[:3] == [
        "prompts   prompts.jsonl (30 prompts): 20 to train, 4 for validation, 6 held out",
        f"student   {local_project.root}/student",
        f"teacher   {local_project.root}/teacher, kind transformers",
    ]


def test_the_plan_shows_what_an_arm_overrides(local_project: Project):
    local_project.edit_paths(
        {
            "arms.omniopd.train": {"num_rounds": 7, "lr": 1.0e-3},
            "arms.omniopd.rollout": {"num_prompts": 8},
            "arms.omniopd.settings": {"num_replies": 1, "chunk_len": 5},
        }
    )

    _, _, plan = check(local_project.params_file)

    assert plan[3] == (
        "arm       omniopd (omniopd): 7 rounds of 8 responses, lr 0.001, 1 reply of 5 tokens a chunk; seeds 0"
    )


def test_check_returns_the_params_that_it_read(local_project: Project):
    params, _, _ = check(local_project.params_file)

    assert params.models.student == str(local_project.root / "student")


def test_check_writes_nothing(local_project: Project):
    before = listing(local_project.root)

    check(local_project.params_file)

    assert listing(local_project.root) == before


def test_relative_paths_are_relative_to_params_yaml(
    local_project: Project, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
):
    local_project.edit(models__student="student", teacher__model="./teacher")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))

    _, _, plan = check(local_project.params_file)

    assert "(30 prompts)" in plan[0]
    shutil.rmtree(local_project.root / "teacher")
    assert refusal(local_project, ModelError) == [
        "params.yaml: teacher.model: teacher: no such model directory; name a directory, or a hub name (owner/name)"
    ]


# --- params.yaml


def test_demo_models_with_a_file_of_prompts_are_refused_each(local_project: Project):
    local_project.edit(models__student="demo", teacher__model="demo")

    assert refusal(local_project, ConfigError) == [
        f"params.yaml: {key}: 'demo' is trained on a built-in task (addition, chain), and prompts.source is the file "
        "'prompts.jsonl'; name a model directory or a hub name"
        for key in ("models.student", "teacher.model")
    ]


@pytest.mark.parametrize("kind", ["no.such.module:Teacher", "fakes:NoSuchTeacher"])
def test_a_teacher_that_cannot_be_imported_is_refused(local_project: Project, kind: str):
    local_project.edit(teacher__kind=kind)

    [line] = refusal(local_project, ConfigError)

    assert line.startswith(f"params.yaml: teacher.kind: {kind!r} cannot be imported (")
    assert "; " in line


def test_an_engine_that_is_not_installed_is_refused_where_an_arm_has_it(local_project: Project, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    local_project.edit_paths({"arms.omniopd.rollout": {"engine": "vllm"}})

    [line] = refusal(local_project, ConfigError)

    assert line.startswith("params.yaml: rollout.engine: vllm cannot be imported (")
    assert line.endswith("); install vllm 0.32, or take transformers")
    local_project.edit_paths({"arms.omniopd": {"method": "sft"}, "arms.omniopd.rollout": {"engine": "vllm"}})
    check(local_project.params_file)  # the teacher writes


def test_a_custom_teacher_needs_no_model_directory(local_project: Project):
    local_project.edit(teacher__kind="fakes:TextOnlyTeacher", teacher__model="a-name-of-its-local_project")

    _, _, plan = check(local_project.params_file)

    assert plan[2] == "teacher   a-name-of-its-local_project, kind fakes:TextOnlyTeacher"


# --- everything in one go


def test_mistakes_in_prompts_and_in_both_models_are_reported_together(local_project: Project):
    with (local_project.root / "prompts.jsonl").open("a") as file:
        file.write("no\nyes\n")
    (local_project.root / "student" / "config.json").unlink()
    (local_project.root / "teacher" / "model.safetensors").unlink()

    lines = refusal(local_project, DataError)

    assert [line.partition(": ")[0] for line in lines] == [
        "prompts.jsonl:31",
        "prompts.jsonl:32",
        *["params.yaml"] * 2,
    ]
    assert lines[2].startswith("params.yaml: teacher.model: teacher: holds no weights")
    assert lines[3].startswith("params.yaml: models.student: student: has no config.json")


# --- warnings


def test_no_anchor_is_warned_of_for_each_arm_that_has_none(local_project: Project):
    local_project.edit_paths({"arms.omniopd.settings": {"beta": 0}})

    warnings = warnings_of(local_project)

    assert warnings == [
        f"{local_project.params_file}: arms.omniopd: beta is 0: without the anchor the published score fell "
        "from 69.08 to 8.28; the published value is 0.1"
    ]


def test_short_chunks_of_a_vocabulary_of_words_are_warned_of(local_project: Project, models: Path):
    local_project.edit(models__student=str(models / "words"))
    local_project.edit_paths({"arms.omniopd-baseline.settings": {"chunk_len": 26}})

    warnings = warnings_of(local_project)

    assert warnings == [
        f"{local_project.params_file}: arms.omniopd: chunk_len is 2: with chunks of 25 tokens the published score fell "
        "from 69.08 to 24.48; the published value is 50"
    ]


def test_short_chunks_of_characters_are_not_warned_of(local_project: Project):
    warnings = warnings_of(local_project)

    assert warnings == []


# --- what a method needs


def test_a_teacher_that_only_answers_text_cannot_be_read_by_opd(local_project: Project):
    local_project.edit(teacher__kind="fakes:TextOnlyTeacher", arms={"white-box": {"method": "opd"}})

    assert refusal(local_project, ConfigError) == [
        "params.yaml: arms.white-box (opd): reads the teacher's distributions, and a teacher of kind "
        "'fakes:TextOnlyTeacher' answers in text alone; use the method fork or omniopd, which need only the "
        "teacher's text"
    ]


def test_a_teacher_of_another_vocabulary_cannot_be_read_by_opd(local_project: Project, models: Path):
    shutil.rmtree(local_project.root / "teacher")
    shutil.copytree(models / "words", local_project.root / "teacher")
    local_project.edit(arms={"white-box": {"method": "opd"}})

    [line] = refusal(local_project, ModelError)

    assert line.startswith(
        "params.yaml: arms.white-box (opd): teacher: its vocabulary is not the student's (1018 "
    )
    assert line.endswith("use the method fork or omniopd, which need only the teacher's text")
    local_project.edit(arms={"text": {"method": "fork"}})
    check(local_project.params_file)


def test_a_student_without_a_tokenizer_is_refused_for_the_arm_that_reads_distributions(
    local_project: Project,
):
    local_project.edit(arms={"white-box": {"method": "opd"}})
    (local_project.root / "student" / "tokenizer.json").unlink()
    (local_project.root / "student" / "tokenizer_config.json").unlink(missing_ok=True)

    lines = refusal(local_project, ModelError)

    assert any(line.startswith("params.yaml: arms.white-box (opd): student: ") for line in lines)


def test_a_grader_that_cannot_be_imported_is_one_mistake(local_project: Project):
    local_project.edit(evaluation__grader="no_such:Grader")

    [line] = refusal(local_project, ConfigError)

    assert line.startswith("params.yaml: evaluation.grader: 'no_such:Grader' cannot be imported")


def test_benchmarks_and_their_files_are_looked_for(local_project: Project):
    (local_project.root / "items.jsonl").write_text("{}\n")
    local_project.edit(benchmarks__suite=["gsm8k"], benchmarks__files={"gsm8k": "items.jsonl"})
    check(local_project.params_file)
    [missing] = refusal(local_project.edit(benchmarks__files={"gsm8k": "none.jsonl"}), DataError)
    [misspelt] = refusal(local_project.edit(benchmarks__suite=["gsm8"]), ConfigError)

    assert missing == "params.yaml: benchmarks: none.jsonl: no such file of items; fix files.gsm8k"
    assert misspelt == "params.yaml: benchmarks.suite: gsm8: no such benchmark; did you mean 'gsm8k'?"


def test_the_plan_says_when_the_teacher_writes(local_project: Project):
    local_project.edit(arms={"imitation": {"method": "sft"}})

    assert check(local_project.params_file)[2][-1] == (
        "arm       imitation (sft): 5 rounds of 12 responses, lr 0.0002, written by the teacher; seeds 0"
    )


# --- memory and disk


def test_what_may_not_fit_is_warned_of_and_what_cannot_is_refused(
    local_project: Project, monkeypatch: pytest.MonkeyPatch
):
    from omniopd.preflight import fit

    monkeypatch.setattr(fit, "room", lambda: fit.Room("this machine", 10, 2**40))
    warnings = warnings_of(local_project)
    [line] = warnings
    assert line.startswith(f"{local_project.params_file}: arms.omniopd: training takes about ")
    assert "this machine has 1,024.0 GiB, 0 MiB of it free; lower train.batch_size" in line

    monkeypatch.setattr(fit, "room", lambda: fit.Room("this machine", 10, 20))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(ConfigError) as caught:
        check(local_project.params_file)
    memory, disk = str(caught.value).splitlines()
    assert memory.startswith(f"{local_project.params_file}: arms.omniopd: training takes about ")
    assert disk.startswith(f"{local_project.params_file}: train.checkpoint_every: 6 checkpoints of up to ")


def test_mistakes_in_settings_and_in_what_they_name_are_reported_together(
    local_project: Project, tmp_path: Path
):
    local_project.edit(prompts__source="none.jsonl", train__lr=-1.0)
    shutil.rmtree(tmp_path / "student")

    lines = refusal(local_project, ConfigError)

    assert [line.split(": ")[1] for line in lines[:1]] == ["train.lr"]
    assert any("none.jsonl" in line and "prompts.source" in line for line in lines)
    assert any("models.student" in line for line in lines)
    assert len(lines) == len(set(lines))


def test_mistakes_in_the_suite_are_reported_once_with_those_elsewhere(local_project: Project, tmp_path: Path):
    local_project.edit(prompts__source="none.jsonl", benchmarks__suite=["gsm8", "mine.yaml"])
    (tmp_path / "mine.yaml").write_text("source: items.jsonl\ngrader: maths\n")

    lines = refusal(local_project, ConfigError)

    assert [line.split(": ")[:2] for line in lines[:2]] == [
        ["params.yaml", "benchmarks.suite"], ["mine.yaml", "grader"]
    ]  # fmt: skip
    [elsewhere] = lines[2:]
    assert "none.jsonl" in elsewhere


def test_mistaken_inputs_are_reported_alone(local_project: Project):
    """Nothing is concluded from defaults in their place."""
    [line] = refusal(local_project.edit(models__student=3, prompts__source="none.jsonl"), ConfigError)
    assert "models.student" in line
