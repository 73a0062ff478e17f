"""check: what is refused before work starts, what is warned of, what would be done."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from projects import Project, make_project
from transformers import AutoModelForCausalLM, Gemma3Config

from omniopd.config import DemoModel, load_params
from omniopd.data.layout import Layout
from omniopd.errors import ConfigError, DataError, ModelError, OmniOPDError
from omniopd.inputs.prepare import draw_prompts
from omniopd.models.loading import context_len
from omniopd.preflight.check import check
from omniopd.training.pretrain import character_tokenizer, save_model, train_demo_model

ALPHABET = "0123456789+=;>"
CONTEXT = 128  # of every model below
KEYS = {"student": "models.student", "teacher": "teacher.model"}
ARMS = {
    "omniopd": {"method": "omniopd", "train": {"lr": 2.0e-4}},
    "omniopd-baseline": {"method": "omniopd", "train": {"lr": 5.0e-4}, "settings": {"num_replies": 3}},
}
ROWS = [{"id": f"sum-{i:02d}", "prompt": f"{i}+1=", "answer": str(i + 1)} for i in range(30)]


def save_tiny_model(path: Path, alphabet: str = ALPHABET) -> None:
    tokenizer = character_tokenizer(alphabet)
    settings = DemoModel(
        width=16, ffn_width=16, num_layers=1, num_heads=2, num_steps=1, batch_size=1, num_examples=1, lr=1e-3
    )
    model = train_demo_model([("1+1=", "2")], tokenizer, settings, seed=0, on_step=lambda _: None)
    save_model(path, model, tokenizer)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`characters` and `words`: models of 18 and of more than 1,000 tokens. Not to be written to."""
    folder = tmp_path_factory.mktemp("models")
    save_tiny_model(folder / "characters")
    save_tiny_model(folder / "words", ALPHABET + "".join(map(chr, range(0x4E00, 0x4E00 + 1000))))
    return folder


@pytest.fixture
def own(tmp_path: Path, models: Path) -> Project:
    """A project with a file of prompts, and copies of the models in ./student and ./teacher."""
    project = make_project(tmp_path)
    for role in ("student", "teacher"):
        shutil.copytree(models / "characters", tmp_path / role)
    write_rows(tmp_path / "prompts.jsonl", ROWS)
    return project.edit(
        arms=ARMS,
        prompts__source="prompts.jsonl",
        prompts__num_train=20,
        prompts__num_validation=4,
        prompts__num_heldout=6,
        models__student=str(tmp_path / "student"),
        teacher__model=str(tmp_path / "teacher"),
    )


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def listing(folder: Path) -> dict[str, bytes | None]:
    """Every path below the folder, with the bytes of the files."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def refusal(project: Project, kind: type[OmniOPDError]) -> list[str]:
    """The lines of the error, with paths relative to the project; asserts that nothing was written."""
    before = listing(project.root)
    with pytest.raises(kind) as caught:
        check(project.params_file)
    assert listing(project.root) == before
    return str(caught.value).replace(f"{project.root}/", "").splitlines()


def test_a_student_without_a_chat_template_is_warned_of_once(own: Project):
    def about_templates() -> list[str]:
        _, warnings, _ = check(own.params_file)
        return [line for line in warnings if "chat template" in line]

    [line] = about_templates()
    assert line.startswith(f"{own.params_file}: models.student: {own.root}/student: has no chat template, ")
    template("{{ messages[0]['content'] }}")(own.root / "student")
    assert not [line for line in about_templates() if "has no chat template" in line]


def test_a_hub_that_cannot_be_reached_is_found_before_work_starts(own: Project):
    own.edit(prompts__source="openai/gsm8k", prompts__subset="main")

    [line] = refusal(own, DataError)

    assert line.startswith("openai/gsm8k (main, train): the hub cannot be reached (")
    assert "name that file in prompts.source" in line


def test_an_evaluation_set_that_is_missing_is_told_with_its_setting(own: Project):
    own.edit(prompts__decontaminate={"against": ["gone.jsonl"], "ngram": 13})

    assert refusal(own, DataError) == [
        "gone.jsonl: no such file of prompts; fix prompts.decontaminate.against in params.yaml"
    ]


def test_what_a_source_is_read_with_says_nothing_of_a_built_in_task(tmp_path: Path):
    project = make_project(tmp_path).edit(prompts__template="{prompt}!", prompts__max_prompt_tokens=9)

    assert refusal(project, ConfigError) == [
        f"params.yaml: prompts.{name}: does not apply to addition, which is a built-in task; set it to null"
        for name in ("template", "max_prompt_tokens")
    ]


def test_prompts_of_every_seed_are_looked_at(own: Project):
    """Of 31 prompts each seed leaves out 9, and some seeds the long one."""
    long = {"id": "sum-long", "prompt": "1+" * 50 + "1=", "answer": "51"}
    write_rows(own.root / "prompts.jsonl", [*ROWS, long])
    own.edit(prompts__num_train=12)
    without = next(seed for seed in range(20) if not is_drawn(own, seed))
    within = next(seed for seed in range(20) if is_drawn(own, seed))

    own.edit(seeds=[without])
    check(own.params_file)
    own.edit(seeds=[without, within])
    [line] = refusal(own, DataError)
    assert "prompt 'sum-long' has 102 tokens" in line


def is_drawn(project: Project, seed: int) -> bool:
    params = load_params(project.params_file)
    drawn, _ = draw_prompts(params, [seed], Layout(project.root))
    return any(prompt.id == "sum-long" for prompts in drawn[seed].values() for prompt in prompts)


def warned_of(project: Project) -> list[str]:
    """The warnings, but for that of the chat template that none of the models here has."""
    _, warnings, _ = check(project.params_file)
    return [line for line in warnings if "has no chat template" not in line]


# --- what would be done


def test_the_plan_of_the_demo_names_prompts_models_arms_rounds_and_seeds(tmp_path: Path):
    project = make_project(tmp_path).edit(seeds=[0, 1], rollout__num_samples=2, arms=ARMS)

    _, warnings, plan = check(project.params_file)

    assert warnings == []
    assert plan == [
        "prompts   addition: 40 to train, 6 to watch, 12 held out",
        "student   demo, trained by `omniopd base`",
        "teacher   demo, trained by `omniopd base`, kind transformers",
        "arm       omniopd (omniopd): 5 rounds of 24 responses, lr 0.0002, "
        "4 replies of 2 tokens a chunk; seeds 0, 1",
        "arm       omniopd-baseline (omniopd): 5 rounds of 24 responses, lr 0.0005, "
        "3 replies of 2 tokens a chunk; seeds 0, 1",
    ]


def test_the_plan_names_the_file_of_prompts_and_the_models(own: Project):
    _, _, plan = check(own.params_file)

    assert plan[:3] == [
        "prompts   prompts.jsonl (30 prompts): 20 to train, 4 to watch, 6 held out",
        f"student   {own.root}/student",
        f"teacher   {own.root}/teacher, kind transformers",
    ]


def test_the_plan_shows_what_an_arm_overrides(own: Project):
    own.edit_paths(
        {
            "arms.omniopd.train": {"num_rounds": 7, "lr": 1.0e-3},
            "arms.omniopd.rollout": {"num_prompts": 8},
            "arms.omniopd.settings": {"num_replies": 1, "chunk_len": 5},
        }
    )

    _, _, plan = check(own.params_file)

    assert plan[3] == (
        "arm       omniopd (omniopd): 7 rounds of 8 responses, lr 0.001, "
        "1 replies of 5 tokens a chunk; seeds 0"
    )


def test_check_returns_the_params_that_it_read(own: Project):
    params, _, _ = check(own.params_file)

    assert params.models.student == str(own.root / "student")


def test_check_writes_nothing(own: Project):
    before = listing(own.root)

    check(own.params_file)

    assert listing(own.root) == before


def test_prompts_and_models_are_found_beside_params_yaml_from_any_folder(
    own: Project, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
):
    own.edit(models__student="student", teacher__model="./teacher")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))

    _, _, plan = check(own.params_file)

    assert "(30 prompts)" in plan[0]
    shutil.rmtree(own.root / "teacher")
    assert refusal(own, ModelError) == [
        "params.yaml: teacher.model: teacher: no such model directory; name a directory, or a hub name (owner/name)"
    ]


# --- params.yaml


def test_a_mistake_in_params_is_found_before_prompts_and_models_are_read(own: Project):
    (own.root / "prompts.jsonl").unlink()
    own.edit(methods__omniopd__chunk_len=0)

    assert refusal(own, ConfigError) == [
        "params.yaml: methods.omniopd.chunk_len: 0 is not positive; the published value is 50"
    ]


def test_demo_models_with_a_file_of_prompts_are_refused_each(own: Project):
    own.edit(models__student="demo", teacher__model="demo")

    assert refusal(own, ConfigError) == [
        f"params.yaml: {key}: 'demo' is trained on a built-in task (addition, chain), and prompts.source is the file "
        "'prompts.jsonl'; name a model directory or a hub name"
        for key in ("models.student", "teacher.model")
    ]


@pytest.mark.parametrize("kind", ["no.such.module:Teacher", "fakes:NoSuchTeacher"])
def test_a_teacher_that_cannot_be_imported_is_refused(own: Project, kind: str):
    own.edit(teacher__kind=kind)

    [line] = refusal(own, ConfigError)

    assert line.startswith(f"params.yaml: teacher.kind: {kind!r} cannot be imported (")
    assert "; " in line


def test_an_engine_that_is_not_installed_is_refused_where_an_arm_has_it(own: Project, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    own.edit_paths({"arms.omniopd.rollout": {"engine": "vllm"}})

    [line] = refusal(own, ConfigError)

    assert line.startswith("params.yaml: rollout.engine: vllm cannot be imported (")
    assert line.endswith("); install vllm 0.32, or take transformers")
    own.edit_paths({"arms.omniopd": {"method": "sft"}, "arms.omniopd.rollout": {"engine": "vllm"}})
    check(own.params_file)  # the teacher writes


def test_a_teacher_of_ones_own_needs_no_model_directory(own: Project):
    own.edit(teacher__kind="fakes:TextOnlyTeacher", teacher__model="a-name-of-its-own")

    _, _, plan = check(own.params_file)

    assert plan[2] == "teacher   a-name-of-its-own, kind fakes:TextOnlyTeacher"


# --- the file of prompts

BROKEN_PROMPTS = {
    "empty": ("", "prompts.jsonl: holds no prompts; write one JSON object a line with 'id' and 'prompt'"),
    "blank lines alone": (
        "\n  \n",
        "prompts.jsonl: holds no prompts; write one JSON object a line with 'id' and 'prompt'",
    ),
    "no prompt": (
        '{"id": "a", "answer": "2"}',
        "prompts.jsonl:1: has no field 'prompt'; it has 'id', 'answer'",
    ),
    "no field": ("{}", "prompts.jsonl:1: has no field 'prompt'; it has none"),
    "id a list": (
        '{"id": [7], "prompt": "1+1="}',
        "prompts.jsonl:1: field 'id' is [7], and an id is some text or a number; fix it, or set prompts.columns.id: "
        "null",
    ),
    "prompt a number": (
        '{"id": "a", "prompt": 2}',
        "prompts.jsonl:1: field 'prompt' is 2, not a string; put it in quotes",
    ),
    "prompt empty": (
        '{"id": "a", "prompt": ""}',
        "prompts.jsonl:1: field 'prompt' is empty; fill it or delete the line",
    ),
    "a list": ('["a", "1+1="]', "prompts.jsonl:1: found list, not a JSON object with 'id' and 'prompt'"),
    "no prompt, a blank line before": (
        '{"id": "a", "prompt": "1+1="}\n\n{"id": "b"}',
        "prompts.jsonl:3: has no field 'prompt'; it has 'id'",
    ),
}


@pytest.mark.parametrize(("text", "message"), BROKEN_PROMPTS.values(), ids=BROKEN_PROMPTS)
def test_a_broken_file_of_prompts_is_refused_with_the_line(own: Project, text: str, message: str):
    (own.root / "prompts.jsonl").write_text(text, encoding="utf-8")

    assert refusal(own, DataError) == [message]


def test_one_id_of_two_prompts_is_refused(own: Project):
    write_rows(own.root / "prompts.jsonl", [{**row, "id": row["id"].replace("07", "21")} for row in ROWS])

    [line] = refusal(own, DataError)

    assert line.startswith("prompts.jsonl: id 'sum-21' belongs to ")
    assert {"'7+1='", "'21+1='"} <= set(line.replace(";", " ").split())
    own.edit_paths({"prompts.columns.id": None})
    check(own.params_file)


NOT_JSON = {
    "cut short": b'{"id": "b", "pro',
    "not UTF-8": b'{"id": "b\xff", "prompt": "1+2="}',
    "a number of 5,000 digits": b"1" * 5000,
    "too deep": b"[" * 100_000,
}


@pytest.mark.parametrize("line", NOT_JSON.values(), ids=NOT_JSON)
def test_a_line_that_is_no_json_is_refused_with_its_number(own: Project, line: bytes):
    first = b'{"id": "a", "prompt": "1+1="}\n'
    (own.root / "prompts.jsonl").write_bytes(first + line + b"\n")

    [message] = refusal(own, DataError)

    assert message.startswith("prompts.jsonl:2: not a JSON object (")
    assert message.endswith("; fix or delete the line")


def test_text_that_is_no_unicode_is_refused_with_its_line(own: Project):
    # Half of a surrogate pair: JSON can write it, UTF-8 cannot.
    (own.root / "prompts.jsonl").write_text('{"id": "a", "prompt": "\\ud800"}\n')

    [message] = refusal(own, DataError)

    assert message.startswith("prompts.jsonl:1: field 'prompt' ")


def test_a_missing_file_of_prompts_is_refused(own: Project):
    (own.root / "prompts.jsonl").unlink()

    assert refusal(own, DataError) == [
        "prompts.jsonl: no such file of prompts, and no built-in task ('addition', 'chain') is called so; "
        "fix prompts.source in params.yaml"
    ]


def test_a_folder_in_place_of_the_file_of_prompts_is_refused(own: Project):
    own.edit(prompts__source="student")

    [message] = refusal(own, DataError)

    assert message.startswith("student: cannot be read (Is a directory); ")


def test_a_misspelt_builtin_task_is_refused(own: Project):
    own.edit(prompts__source="additon")

    [message] = refusal(own, DataError)

    assert message.startswith("additon: no such file of prompts")
    assert "'addition'" in message


def test_too_few_prompts_are_found_before_prepare(own: Project):
    own.edit(prompts__num_train=21)

    assert refusal(own, DataError) == [
        "prompts.jsonl: 20 prompts are left to train on after 10 to measure on, and prompts.num_train is 21; "
        "add prompts or lower it"
    ]


def test_too_few_answers_are_found_before_prepare(own: Project):
    write_rows(own.root / "prompts.jsonl", [{k: v for k, v in row.items() if k != "answer"} for row in ROWS])

    assert refusal(own, DataError) == [
        "prompts.jsonl: 0 prompts have an answer, and 10 are to be measured on (30 rows without, such as 'sum-08': no "
        "answer); add answers, or lower prompts.num_heldout and prompts.num_validation"
    ]


# --- prompts and the context


def test_a_prompt_fits_up_to_the_last_token_of_the_context(own: Project):
    room = CONTEXT - max(len(row["prompt"]) for row in ROWS)  # a token a character

    own.edit(rollout__max_new_tokens=room)
    check(own.params_file)

    own.edit(rollout__max_new_tokens=room + 1)
    assert refusal(own, DataError) == [
        "prompts.jsonl: prompt 'sum-10' has 5 tokens, and with rollout.max_new_tokens = 124 passes the student's "
        "context of 128; shorten or remove it and the 19 others that are too long, leave such out with "
        "prompts.max_prompt_tokens, or make responses shorter"
    ]


def test_one_prompt_that_does_not_fit_is_named(own: Project):
    long = {"id": "sum-long", "prompt": "1+" * 50 + "1=", "answer": "51"}
    write_rows(own.root / "prompts.jsonl", [*ROWS, long])
    own.edit(prompts__num_train=21)

    assert refusal(own, DataError) == [
        "prompts.jsonl: prompt 'sum-long' has 102 tokens, and with rollout.max_new_tokens = 48 passes the student's "
        "context of 128; shorten or remove it, leave such out with prompts.max_prompt_tokens, or make responses shorter"
    ]


def test_the_longest_response_of_any_arm_has_to_fit(own: Project):
    own.edit_paths({"arms.omniopd-baseline.rollout": {"max_new_tokens": 125}})

    [message] = refusal(own, DataError)

    assert "prompt 'sum-00' has 4 tokens" in message
    assert "125" in message


@pytest.mark.parametrize("student", ["demo", "student"])
def test_a_prompt_of_a_builtin_task_has_to_fit_as_well(own: Project, student: str):
    room = CONTEXT - len("4185+5874=")
    own.edit(prompts__source="addition", models__student=student, rollout__max_new_tokens=room)
    check(own.params_file)

    own.edit(rollout__max_new_tokens=room + 1)
    [message] = refusal(own, DataError)

    assert message.startswith("addition: prompt ")
    assert (
        "has 10 tokens, and with rollout.max_new_tokens = 119 passes the student's context of 128" in message
    )


# --- everything in one go


def test_mistakes_in_prompts_and_in_both_models_are_told_together(own: Project):
    with (own.root / "prompts.jsonl").open("a") as file:
        file.write("no\nyes\n")
    (own.root / "student" / "config.json").unlink()
    (own.root / "teacher" / "model.safetensors").unlink()

    lines = refusal(own, DataError)

    assert [line.partition(": ")[0] for line in lines] == [
        "prompts.jsonl:31",
        "prompts.jsonl:32",
        *["params.yaml"] * 2,
    ]
    assert lines[2].startswith("params.yaml: teacher.model: teacher: holds no weights")
    assert lines[3].startswith("params.yaml: models.student: student: has no config.json")


def test_of_many_broken_lines_the_first_are_told_and_the_rest_counted(own: Project):
    (own.root / "prompts.jsonl").write_text("{\n" * 8)

    lines = refusal(own, DataError)

    assert [line.partition(": ")[0] for line in lines[:5]] == [f"prompts.jsonl:{n}" for n in range(1, 6)]
    assert lines[5:] == ["prompts.jsonl: 3 more lines cannot be used; fix these first"]


def test_prompts_that_repeat_anothers_text_are_counted(own: Project):
    write_rows(own.root / "prompts.jsonl", [*ROWS, {"id": "again", "prompt": ROWS[0]["prompt"]}])

    _, _, plan = check(own.params_file)

    assert (
        "prompts.jsonl (31 prompts, 1 of them repeat another's text and are left out, 1 without an answer)"
        in plan[0]
    )


# --- directories of models


def edit_json(path: Path, **changes: str | None) -> None:
    """Change keys of a JSON object; None removes one."""
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))


def remove(*names: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return damage


def tokenizer(**changes: str | None) -> Callable[[Path], None]:
    return lambda folder: edit_json(folder / "tokenizer_config.json", **changes)


def content(name: str, text: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).write_text(text)

    return damage


def cut_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


DAMAGED: dict[str, tuple[Callable[[Path], None], str]] = {
    "the directory": (
        shutil.rmtree,
        "no such model directory; name a directory, or a hub name (owner/name)",
    ),
    "config.json": (
        remove("config.json"),
        "has no config.json; name a directory written by save_pretrained",
    ),
    "the weights": (
        remove("model.safetensors"),
        "holds no weights (model.safetensors); save the model there first",
    ),
    "the end token": (
        tokenizer(eos_token=None),
        "the tokenizer has no end token; set eos_token and save it again",
    ),
    "a pad token of its own": (
        tokenizer(pad_token="<end>"),
        "the tokenizer pads with its end token '<end>', so a masked pad would mask the end as well; "
        "give it a pad_token of its own and save it again",
    ),
}


@pytest.mark.parametrize("role", ["student", "teacher"])
@pytest.mark.parametrize(("damage", "message"), DAMAGED.values(), ids=DAMAGED)
def test_a_model_directory_without_a_part_is_refused(
    own: Project, role: str, damage: Callable[[Path], None], message: str
):
    damage(own.root / role)

    assert refusal(own, ModelError) == [f"params.yaml: {KEYS[role]}: {role}: {message}"]


BROKEN: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "weights cut short": (cut_weights, "model.safetensors ", "; save the model there again"),
    "no weights in the file": (
        content("model.safetensors", ""),
        "model.safetensors ",
        "; save the model there again",
    ),
    "no tokenizer": (
        remove("tokenizer.json", "tokenizer_config.json"),
        "holds no tokenizer",
        "; save the tokenizer there",
    ),
    "tokenizer.json missing": (
        remove("tokenizer.json"),
        "holds no tokenizer",
        "; save the tokenizer there",
    ),
    "tokenizer.json cut short": (
        content("tokenizer.json", "{"),
        "its tokenizer cannot be loaded (",
        "; save the tokenizer there",
    ),
    "tokenizer.json of nothing": (
        content("tokenizer.json", "{}"),
        "its tokenizer cannot be loaded (",
        "; save the tokenizer there",
    ),
    "config.json cut short": (
        content("config.json", "{"),
        "its config.json cannot be used (",
        "; save the model there again",
    ),
    "config.json of nothing": (
        content("config.json", "{}"),
        "its config.json cannot be used (",
        "; save the model there again",
    ),
    "config.json of an unknown model": (
        content("config.json", '{"model_type": "nope"}'),
        "its config.json cannot be used (",
        "; save the model there again",
    ),
}


@pytest.mark.parametrize("role", ["student", "teacher"])
@pytest.mark.parametrize(("damage", "found", "remedy"), BROKEN.values(), ids=BROKEN)
def test_a_model_directory_with_a_broken_file_is_refused(
    own: Project, role: str, damage: Callable[[Path], None], found: str, remedy: str
):
    damage(own.root / role)

    [message] = refusal(own, ModelError)

    assert message.startswith(f"params.yaml: {KEYS[role]}: {role}: {found}")
    assert remedy in message


def shard_weights(folder: Path) -> list[Path]:
    """Save the model anew with its weights in several files, and return those."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="4KB")
    shards = sorted(folder.glob("*.safetensors"))
    assert len(shards) > 1
    return shards


def test_weights_in_several_files_are_weights(own: Project):
    shard_weights(own.root / "student")

    assert check(own.params_file)


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_a_model_directory_that_lacks_one_of_several_files_of_weights_is_refused(own: Project, role: str):
    lost = shard_weights(own.root / role)[-1]
    lost.unlink()

    [message] = refusal(own, ModelError)

    assert message.startswith(f"params.yaml: {KEYS[role]}: {role}: {lost.name} ")
    assert "; save the model there again" in message


# --- warnings


def test_no_anchor_is_warned_of_for_each_arm_that_has_none(own: Project):
    own.edit_paths({"arms.omniopd.settings": {"beta": 0}})

    warnings = warned_of(own)

    assert warnings == [
        f"{own.params_file}: arms.omniopd: beta is 0: without the anchor the published score fell "
        "from 69.08 to 8.28; the published value is 0.1"
    ]


def test_short_chunks_of_a_vocabulary_of_words_are_warned_of(own: Project, models: Path):
    own.edit(models__student=str(models / "words"))
    own.edit_paths({"arms.omniopd-baseline.settings": {"chunk_len": 26}})

    warnings = warned_of(own)

    assert warnings == [
        f"{own.params_file}: arms.omniopd: chunk_len is 2: with chunks of 25 tokens the published score fell "
        "from 69.08 to 24.48; the published value is 50"
    ]


def test_short_chunks_of_characters_are_not_warned_of(own: Project):
    warnings = warned_of(own)

    assert warnings == []


# --- what a method needs


def test_a_teacher_that_only_answers_text_cannot_be_read_by_opd(own: Project):
    own.edit(teacher__kind="fakes:TextOnlyTeacher", arms={"white-box": {"method": "opd"}})

    assert refusal(own, ConfigError) == [
        "params.yaml: arms.white-box (opd): reads the teacher's distributions, and a teacher of kind "
        "'fakes:TextOnlyTeacher' answers in text alone; take the method fork or omniopd, which need the teacher's "
        "text alone"
    ]


def test_a_teacher_of_another_vocabulary_cannot_be_read_by_opd(own: Project, models: Path):
    shutil.rmtree(own.root / "teacher")
    shutil.copytree(models / "words", own.root / "teacher")
    own.edit(arms={"white-box": {"method": "opd"}})

    [line] = refusal(own, ModelError)

    assert line.startswith(
        "params.yaml: arms.white-box (opd): teacher: its vocabulary is not the student's (1018 "
    )
    assert line.endswith("use the method fork or omniopd, which need only the teacher's text")
    own.edit(arms={"text": {"method": "fork"}})
    check(own.params_file)


@pytest.mark.parametrize(("grader", "column"), [("pattern", "answer"), ("code", "tests")])
def test_prompts_that_nothing_can_judge_cannot_be_rewarded(own: Project, grader: str, column: str):
    """12 of 30 rows have what the grader needs: 10 of them are measured on, and 2 of the 20 others are trained on."""
    rows = [{"id": row["id"], "prompt": row["prompt"]} for row in ROWS]
    for row in rows[:12]:
        row[column] = "assert f(1) == 2" if column == "tests" else "2"
    write_rows(own.root / "prompts.jsonl", rows)
    own.edit(evaluation__grader=grader)
    check(own.params_file)
    own.edit(arms={"rewarded": {"method": "grpo", "rollout": {"num_prompts": 3, "num_samples": 4}}})

    [line] = refusal(own, DataError)

    for named in ("prompts.jsonl", f"18 of 20 prompts to train on have no {column}", "arms.rewarded (grpo)"):
        assert named in line
    assert f"prompts.columns.{column}" in line


def test_a_grader_that_cannot_be_imported_is_one_mistake(own: Project):
    own.edit(evaluation__grader="no_such:Grader")

    [line] = refusal(own, ConfigError)

    assert line.startswith("params.yaml: evaluation.grader: 'no_such:Grader' cannot be imported")


def test_benchmarks_and_their_files_are_looked_for(own: Project):
    (own.root / "items.jsonl").write_text("{}\n")
    own.edit(benchmarks__suite=["gsm8k"], benchmarks__files={"gsm8k": "items.jsonl"})
    check(own.params_file)
    own.edit(benchmarks__suite=["gsm8", "mbpp"], benchmarks__files={"mbpp": "none.jsonl"})

    misspelt, missing = refusal(own, ConfigError)

    assert misspelt == "params.yaml: benchmarks: gsm8: no such benchmark; did you mean 'gsm8k'?"
    assert missing == (
        "params.yaml: benchmarks: files.mbpp: none.jsonl: no such file of items; fix it, or leave it out"
    )


def test_the_plan_says_when_the_teacher_writes(own: Project):
    own.edit(arms={"imitation": {"method": "sft"}})

    assert check(own.params_file)[2][-1] == (
        "arm       imitation (sft): 5 rounds of 12 responses, lr 0.0002, written by the teacher; seeds 0"
    )


# --- templates and ends

ROLES = (
    "{% for m in messages %}{{ m['content'] }}{% if m['role'] == 'assistant' %}ANSWERED{% else %}>{% endif %}"
    "{% endfor %}"
)


def template(text: str) -> Callable[[Path], None]:
    return content("chat_template.jinja", text)


def generation(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: (folder / "generation_config.json").write_text(json.dumps(changes)) and None


DOUBTS: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "a template that ends with the end token": (template(ROLES.replace("ANSWERED", "<end>")), []),
    "another end": (
        template(ROLES.replace("ANSWERED", ";")),
        [
            "its chat template ends a turn with ';' (12), and the tokenizer's end token is '<end>' (15): the student "
            "writes on behind its answers, to rollout.max_new_tokens; set eos_token of the tokenizer to what the "
            "template ends a turn with"
        ],
    ),
    "another beginning": (
        template(
            "{% for m in messages %}{{ m['content'] }}{% if m['role'] == 'assistant' %}<end>{% endif %}{% endfor %}"
            "{% if add_generation_prompt %}>{% endif %}"
        ),
        [
            "its chat template does not put before an answer what it puts before one to be written (from '>' on), so "
            "the student is trained on other text than it was; make sure that this is meant, as with models that "
            "think first"
        ],
    ),
    "no answers": (
        template(ROLES.replace("ANSWERED", "{{ raise_exception('no assistants') }}")),
        ["its chat template does not take an answer (no assistants); fix it"],
    ),
    "several ends, the tokenizer's among them": (generation(eos_token_id=[13, 15]), []),
    "other ends": (
        generation(eos_token_id=[13, 12]),
        [
            "generation_config.json ends at '>' (13), ';' (12), and the tokenizer's end token is '<end>' (15): "
            "responses that end with the one are not seen to end by what waits for the other; set eos_token of the "
            "tokenizer to what the model was trained to write"
        ],
    ),
    "no generation config": (remove("generation_config.json"), []),
}


@pytest.mark.parametrize("role", ["student", "teacher"])
@pytest.mark.parametrize(("change", "doubts"), DOUBTS.values(), ids=DOUBTS)
def test_where_a_turn_ends_is_said_by_template_generation_config_and_tokenizer_alike(
    own: Project, role: str, change: Callable[[Path], None], doubts: list[str]
):
    change(own.root / role)

    warnings = warned_of(own)

    assert warnings == [f"{own.params_file}: {KEYS[role]}: {own.root}/{role}: {doubt}" for doubt in doubts]


def test_a_lines_end_may_stand_behind_the_end_token(tmp_path: Path):
    from omniopd.preflight.check_models import end_warnings

    characters = character_tokenizer(f"{ALPHABET}\n")
    characters.chat_template = ROLES.replace("ANSWERED", "<end>\n")
    assert end_warnings(str(tmp_path), characters) == []
    characters.chat_template = ROLES.replace("ANSWERED", "\n")
    [line] = end_warnings(str(tmp_path), characters)
    assert "its chat template ends a turn with '4' (4)" in line


def test_a_template_that_takes_no_prompt_is_refused(own: Project):
    template("{{ raise_exception('never') }}")(own.root / "student")

    assert refusal(own, ModelError) == [
        "params.yaml: models.student: student: its chat template does not take a prompt (never); fix "
        "chat_template.jinja or tokenizer_config.json"
    ]


def test_a_tokenizer_of_more_tokens_than_the_model_has_is_refused(own: Project, models: Path):
    shutil.copy(models / "words" / "tokenizer.json", own.root / "student" / "tokenizer.json")

    assert refusal(own, ModelError) == [
        "params.yaml: models.student: student: the tokenizer's last token is 1017, and the model has 18 (vocab_size "
        "in config.json); save the tokenizer that belongs to the model"
    ]


# --- memory and disk


def test_what_may_not_fit_is_warned_of_and_what_cannot_is_refused(
    own: Project, monkeypatch: pytest.MonkeyPatch
):
    from omniopd.preflight import fit

    monkeypatch.setattr(fit, "room", lambda: fit.Room("this machine", 10, 2**40))
    warnings = warned_of(own)
    [line] = warnings
    assert line.startswith(f"{own.params_file}: arms.omniopd: training takes about ")
    assert "this machine has 1,024.0 GiB, 0 MiB of it free; lower train.batch_size" in line

    monkeypatch.setattr(fit, "room", lambda: fit.Room("this machine", 10, 20))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(ConfigError) as caught:
        check(own.params_file)
    memory, disk = str(caught.value).splitlines()
    assert memory.startswith(f"{own.params_file}: arms.omniopd: training takes about ")
    assert disk.startswith(f"{own.params_file}: train.checkpoint_every: 6 checkpoints of up to ")


# --- what cannot be trained or saved

UNSAVED = {
    "a temperature without sampling": ({"do_sample": False, "temperature": 0.6}, "temperature"),
    "top_p of no sampling": ({"top_p": 0.9}, "top_p"),
    "several sequences": ({"num_return_sequences": 3}, "num_return_sequences"),
    "no new tokens": ({"max_new_tokens": 0}, "max_new_tokens"),
}


@pytest.mark.parametrize(("settings", "named"), UNSAVED.values(), ids=UNSAVED)
def test_a_generation_config_that_no_checkpoint_could_hold_is_refused(
    own: Project, settings: dict, named: str
):
    generation(**settings)(own.root / "student")

    [line] = refusal(own, ModelError)

    assert line.startswith("params.yaml: models.student: student: generation_config.json cannot be ")
    assert named in line


def test_a_generation_config_that_cannot_be_read_is_refused(own: Project):
    (own.root / "student" / "generation_config.json").write_text("{")

    [line] = refusal(own, ModelError)

    assert line.startswith("params.yaml: models.student: student: generation_config.json cannot be used (")


LORA = {"rank": 2, "alpha": 4.0}
TARGETS = {
    "the head": (["q_proj", "lm_head"], "lm_head is the head"),
    "no layer": (["q_proj", "c_attn"], "c_attn names no layer of Qwen3ForCausalLM"),
    "a norm": (["norm"], "norm is a Qwen3RMSNorm, not a linear layer"),
}


@pytest.mark.parametrize(("targets", "reason"), TARGETS.values(), ids=TARGETS)
def test_what_takes_no_adapter_is_refused_with_the_arm_and_the_reason(
    own: Project, targets: list, reason: str
):
    own.edit_paths({"arms.omniopd.train": {"lora": {**LORA, "targets": targets}}})

    [line] = refusal(own, ConfigError)

    assert line.startswith(f"params.yaml: arms.omniopd: train.lora.targets: {reason}")
    assert line.endswith("take some of down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj")


def test_a_student_that_ignores_its_prompts_is_refused(own: Project):
    template("1+1=")(own.root / "student")

    [line] = refusal(own, ModelError)

    assert line.startswith("params.yaml: models.student: student: its chat template renders ")


def test_the_context_of_a_multimodal_model_is_that_of_its_text():
    config = Gemma3Config(text_config={"max_position_embeddings": 77}, vision_config={})
    assert context_len(config) == 77
