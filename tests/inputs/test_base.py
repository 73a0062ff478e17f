"""base: models that are trained or exist, and their entries in models.json."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from projects import Project, make_project
from transformers import AutoModelForCausalLM, AutoTokenizer

from omniopd.config import load_params
from omniopd.data.layout import Layout
from omniopd.data.prompts import read_prompts
from omniopd.errors import ConfigError, DataError, ModelError
from omniopd.inputs.base import base, model_digest
from omniopd.inputs.prepare import prepare

ROLES = ("student", "teacher")


@pytest.fixture
def prepared(tmp_path: Path) -> Project:
    """A project with prompts, whose models train in a moment."""
    project = make_project(tmp_path / "project").edit(
        models__demo__student__num_steps=2,
        models__demo__student__batch_size=8,
        models__demo__teacher__num_steps=3,
        models__demo__teacher__batch_size=8,
    )
    for seed in (0, 1):
        prepare(load_params(project.params_file), seed, Layout(project.root))
    return project


def run(project: Project, seed: int = 0) -> dict[str, Any]:
    """What models.json holds after base."""
    base(load_params(project.params_file), seed, Layout(project.root), on_step=lambda *_: None)
    return json.loads((models(project, seed) / "models.json").read_text())


def models(project: Project, seed: int = 0) -> Path:
    return project.root / "models" / f"seed-{seed}"


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# --- trained here


def test_models_json_names_both_demo_models_by_place_and_digest(prepared: Project):
    models_json = run(prepared)

    digests = {role: model_digest(models(prepared) / role) for role in ROLES}
    assert models_json == {
        "student": {"path": "student", "digest": digests["student"], "starts": [0.0]},
        "teacher": {"path": "teacher", "digest": digests["teacher"]},
    }
    assert models_json["student"]["digest"] != models_json["teacher"]["digest"]


@pytest.mark.parametrize("role", ROLES)
def test_transformers_loads_the_demo_models(base_project: Project, role: str):
    path = models(base_project) / role
    tokenizer = AutoTokenizer.from_pretrained(path)
    model, report = AutoModelForCausalLM.from_pretrained(path, output_loading_info=True)

    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert model.config.vocab_size == len(tokenizer)
    assert model.config.eos_token_id == tokenizer.eos_token_id
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)


def test_the_tokenizer_of_a_demo_model_gives_a_token_a_character_and_the_text_back(base_project: Project):
    tokenizer = AutoTokenizer.from_pretrained(models(base_project) / "student")

    for prompt in read_prompts(Layout(base_project.root).prompts(0, "heldout")):
        ids = tokenizer.encode(prompt.prompt)
        assert len(ids) == len(prompt.prompt)
        assert tokenizer.decode(ids) == prompt.prompt


def test_the_demo_models_have_the_shape_that_params_give(base_project: Project):
    settings = load_params(base_project.params_file).models.demo.student
    config = AutoModelForCausalLM.from_pretrained(models(base_project) / "student").config

    assert config.model_type == "qwen3"
    assert config.hidden_size == settings.width
    assert config.intermediate_size == settings.ffn_width
    assert config.num_hidden_layers == settings.num_layers
    assert config.num_attention_heads == settings.num_heads


def test_the_same_seed_gives_the_same_files_byte_for_byte(prepared: Project, tmp_path: Path):
    copy = prepared.copied_to(tmp_path / "copy")

    run(prepared)
    torch.rand(3)  # whatever was drawn before makes no difference
    run(copy)

    assert contents(models(copy)) == contents(models(prepared))


def test_a_second_call_leaves_the_same_files(prepared: Project):
    run(prepared)
    before = contents(models(prepared))

    run(prepared)

    assert contents(models(prepared)) == before


def test_another_seed_gives_other_models_from_the_same_prompts(prepared: Project):
    data = prepared.root / "data"
    shutil.copytree(data / "seed-0", data / "seed-1", dirs_exist_ok=True)

    first, second = run(prepared, 0), run(prepared, 1)

    for role in ROLES:
        assert first[role]["digest"] != second[role]["digest"]


def test_every_step_of_both_models_is_reported_in_order(prepared: Project):
    steps: list[tuple[str, int, int]] = []

    base(
        load_params(prepared.params_file),
        0,
        Layout(prepared.root),
        on_step=lambda role, step, total: steps.append((role, step, total)),
    )

    assert steps == [
        ("student", 1, 2),
        ("student", 2, 2),
        ("teacher", 1, 3),
        ("teacher", 2, 3),
        ("teacher", 3, 3),
    ]


@pytest.mark.parametrize(
    ("max_draws", "measured", "kept"),
    [(5, [4], 0), (5, [1, 3], 1), (5, [9, 1, 5], 2), (3, [0, 8, 1], 2), (3, [9, 1, 9], 1), (1, [0], 0)],
    ids=[
        "first fits",
        "lowest is inside",
        "highest is inside",
        "nearest",
        "first of the nearest",
        "one draw",
    ],
)
def test_the_student_is_redrawn_until_it_starts_within_the_range(
    prepared: Project, monkeypatch: pytest.MonkeyPatch, max_draws: int, measured: list[int], kept: int
):
    answers = iter(measured)
    weights: list[torch.Tensor] = []

    def fake_accuracy(model, *_) -> float:
        weights.append(model.lm_head.weight.detach().clone())
        return next(answers) / 10

    monkeypatch.setattr("omniopd.inputs.base._accuracy", fake_accuracy)
    prepared.edit(
        models__demo__start__lowest=0.3,
        models__demo__start__highest=0.5,
        models__demo__start__max_draws=max_draws,
    )

    models_json = run(prepared)

    num_draws = kept + 1 if 3 <= measured[kept] <= 5 else len(measured)
    assert models_json["student"]["starts"] == [count / 10 for count in measured[:num_draws]]
    assert len({w.sum().item() for w in weights}) == num_draws  # every draw is another student
    saved = AutoModelForCausalLM.from_pretrained(models(prepared) / "student")
    assert torch.equal(saved.lm_head.weight, weights[kept])


def test_measuring_the_start_leaves_the_models_as_they_were(
    prepared: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    copy = prepared.copied_to(tmp_path / "copy")
    measured = run(prepared)
    monkeypatch.setattr("omniopd.inputs.base.answered", lambda *_, **__: [])
    monkeypatch.setattr("omniopd.inputs.base.accuracy_of", lambda _: 0.0)

    for role in ROLES:
        assert run(copy)[role]["digest"] == measured[role]["digest"]


def test_demo_models_before_prepare_are_refused_with_what_to_run(tmp_path: Path):
    project = make_project(tmp_path)

    with pytest.raises(DataError) as caught:
        run(project)

    assert str(caught.value) == (
        f"{project.root}/data/seed-0/student-examples.jsonl: no such file; "
        "run `omniopd prepare` first (dvc repro does)"
    )
    assert not models(project).exists()


# --- named in params.yaml


@pytest.fixture
def named(base_project: Project, tmp_path: Path) -> Project:
    """A project without prompts, whose student and teacher are directories elsewhere."""
    folder = tmp_path / "elsewhere"
    shutil.copytree(models(base_project), folder)
    return make_project(tmp_path / "project").edit(
        models__student=str(folder / "student"), teacher__model=str(folder / "teacher")
    )


def test_a_named_directory_is_recorded_by_name_and_digest_and_not_copied(named: Project):
    models_json = run(named)

    params = load_params(named.params_file)
    for role, name in (("student", params.models.student), ("teacher", params.teacher.model)):
        assert models_json[role] == {"name": name, "digest": model_digest(Path(name))}
    assert sorted(path.name for path in models(named).rglob("*")) == ["models.json", "receipt.json"]


def test_a_demo_model_keeps_its_digest_where_it_is_named_from_elsewhere(
    named: Project, base_project: Project
):
    recorded = json.loads((models(base_project) / "models.json").read_text())

    assert run(named)["student"]["digest"] == recorded["student"]["digest"]


UNREAD = (
    "README.md",
    "LICENSE",
    "LICENSE.txt",
    "notes.txt",
    ".gitattributes",
    "logo.png",
    "checkpoint-5/config.json",
)
READ = (
    "model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "chat_template.jinja", "additional_chat_templates/tools.jinja", "tokenizer.model",
    "vocab.txt", "merges.txt", "vocab.json", "qwen.tiktoken", "modeling_mine.py",
    "model-00002-of-00002.safetensors", "model.safetensors.index.json",
)  # fmt: skip


def test_the_digest_follows_every_file_that_decides_what_a_model_does_and_no_other(named: Project):
    """A changed byte in each, also where the file is new."""
    before = run(named)
    student = Path(load_params(named.params_file).models.student)

    def changed(name: str) -> dict[str, Any]:
        file = student / name
        content = file.read_bytes() if file.exists() else None
        file.parent.mkdir(exist_ok=True)
        file.write_bytes((content or b"") + b" ")
        digests = {role: model_digest(student.parent / role) for role in ROLES}
        file.unlink() if content is None else file.write_bytes(content)
        return digests

    for name in UNREAD:
        assert changed(name)["student"] == before["student"]["digest"], name
    for name in READ:
        digests = changed(name)
        assert digests["student"] != before["student"]["digest"], name
        assert digests["teacher"] == before["teacher"]["digest"]
    assert run(named) == before


def test_a_demo_student_and_a_named_teacher_are_combined(prepared: Project, base_project: Project):
    teacher = models(base_project) / "teacher"
    models_json = run(prepared.edit(teacher__model=str(teacher)))

    assert models_json["student"]["path"] == "student"
    assert models_json["teacher"] == {"name": str(teacher), "digest": model_digest(teacher)}
    assert not (models(prepared) / "teacher").exists()


def test_a_teacher_of_another_kind_is_recorded_by_its_name_alone(named: Project):
    named.edit(teacher__kind="fakes:TextOnlyTeacher", teacher__model="some-model")

    assert run(named)["teacher"] == {"name": "some-model", "digest": "some-model"}


def test_a_demo_model_with_a_file_of_prompts_is_refused_with_what_to_do(tmp_path: Path):
    project = make_project(tmp_path).edit(prompts__source="prompts.jsonl", teacher__model="some-model")

    with pytest.raises(ConfigError) as caught:
        run(project)

    assert str(caught.value) == (
        "params.yaml: models.student: 'demo' is trained on a built-in task (addition, chain), and prompts.source is "
        "the file 'prompts.jsonl'; name a model directory or a hub name"
    )
    assert not models(project).exists()


@pytest.mark.parametrize("role", ROLES)
def test_a_named_directory_without_weights_is_refused_and_nothing_is_recorded(named: Project, role: str):
    params = load_params(named.params_file)
    path = Path({"student": params.models.student, "teacher": params.teacher.model}[role])
    (path / "model.safetensors").unlink()

    with pytest.raises(ModelError) as caught:
        run(named)

    assert str(caught.value).startswith(f"{path}: holds no weights")
    assert not models(named).exists()
