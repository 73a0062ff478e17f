"""check: directories of models, chat templates and stop tokens, and what cannot be trained or saved."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from checked import (
    ALPHABET,
    content,
    generation,
    refusal,
    remove,
    template,
    warnings_of,
)
from projects import Project
from transformers import AutoModelForCausalLM, Gemma3Config

from omniopd.errors import ConfigError, ModelError
from omniopd.models.chat import Chat
from omniopd.models.loading import context_len, load_chat
from omniopd.preflight.check import check
from omniopd.preflight.check_models import THOUGHT_LEN, side_warnings
from omniopd.training.pretrain import character_tokenizer

KEYS = {"student": "models.student", "teacher": "teacher.model"}


def test_a_student_without_a_chat_template_is_warned_of_once(local_project: Project):
    def about_templates() -> list[str]:
        _, warnings, _ = check(local_project.params_file)
        return [line for line in warnings if "chat template" in line]

    [line] = about_templates()
    assert line.startswith(
        f"{local_project.params_file}: models.student: {local_project.root}/student: has no chat template, "
    )
    template("{{ messages[0]['content'] }}")(local_project.root / "student")
    assert not [line for line in about_templates() if "student: has no chat template" in line]


# --- directories of models


def edit_json(path: Path, **changes: str | None) -> None:
    """Change keys of a JSON object; None removes one."""
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))


def tokenizer(**changes: str | None) -> Callable[[Path], None]:
    return lambda folder: edit_json(folder / "tokenizer_config.json", **changes)


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
}


@pytest.mark.parametrize("role", ["student", "teacher"])
@pytest.mark.parametrize(("damage", "message"), DAMAGED.values(), ids=DAMAGED)
def test_a_model_directory_without_a_part_is_refused(
    local_project: Project, role: str, damage: Callable[[Path], None], message: str
):
    damage(local_project.root / role)

    assert refusal(local_project, ModelError) == [f"params.yaml: {KEYS[role]}: {role}: {message}"]


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
@pytest.mark.parametrize(("damage", "problem", "remedy"), BROKEN.values(), ids=BROKEN)
def test_a_model_directory_with_a_broken_file_is_refused(
    local_project: Project, role: str, damage: Callable[[Path], None], problem: str, remedy: str
):
    damage(local_project.root / role)

    [message] = refusal(local_project, ModelError)

    assert message.startswith(f"params.yaml: {KEYS[role]}: {role}: {problem}")
    assert remedy in message


def shard_weights(folder: Path) -> list[Path]:
    """Save the model again with its weights in several files, and return those."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="4KB")
    shards = sorted(folder.glob("*.safetensors"))
    assert len(shards) > 1
    return shards


def test_weights_in_several_files_are_weights(local_project: Project):
    shard_weights(local_project.root / "student")

    assert check(local_project.params_file)


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_a_model_directory_that_lacks_one_of_several_files_of_weights_is_refused(
    local_project: Project, role: str
):
    lost = shard_weights(local_project.root / role)[-1]
    lost.unlink()

    [message] = refusal(local_project, ModelError)

    assert message.startswith(f"params.yaml: {KEYS[role]}: {role}: {lost.name} ")
    assert "; save the model there again" in message


# --- templates and ends

ROLES = (
    "{% for m in messages %}{{ m['content'] }}{% if m['role'] == 'assistant' %}ANSWERED{% else %}>{% endif %}"
    "{% endfor %}"
)


DOUBTS: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "a template that ends with the end token": (template(ROLES.replace("ANSWERED", "<end>")), []),
    "another end": (
        template(ROLES.replace("ANSWERED", ";")),
        [
            "its chat template ends a turn with ';', which is no special token: the tokenizer's end token '<end>' (15) "
            "is trained and stops generation; if the model was trained to write another token, set eos_token of the "
            "tokenizer to that"
        ],
    ),
    "another beginning": (
        template(
            "{% for m in messages %}{{ m['content'] }}{% if m['role'] == 'assistant' %}<end>{% endif %}{% endfor %}"
            "{% if add_generation_prompt %}>{% endif %}"
        ),
        [
            "its chat template renders another prefix for a given answer than for one to be generated (from '>' on), "
            "so the student is trained on another text than the model was; make sure that this is intended, as with "
            "reasoning models"
        ],
    ),
    "no answers": (
        template(ROLES.replace("ANSWERED", "{{ raise_exception('no assistants') }}")),
        ["its chat template does not accept an answer (no assistants); fix it"],
    ),
    "an answer that begins with what no prompt ends with": (
        template(
            ROLES.replace(
                "{{ m['content'] }}{% if", "{{ '=' if m['role'] == 'assistant' }}{{ m['content'] }}{% if"
            ).replace("ANSWERED", "<end>")
        ),
        [
            "its chat template begins an answer with '=' and does not write it at the end of a prompt, so the model "
            "would have to; have the template write it where add_generation_prompt is set"
        ],
    ),
    "an end of turn that the generation config does not name": (
        template(ROLES.replace("ANSWERED", "<start>")),
        [
            "'<start>' (16) ends a turn by its tokenizer or chat template, and is none of the end tokens of "
            "generation_config.json (15), so the model was perhaps never trained to write it; make sure that all three "
            "belong to the model"
        ],
    ),
    "an end token that the generation config does not name": (
        tokenizer(eos_token="<unk>"),
        [
            "'<unk>' (17) ends a turn by its tokenizer or chat template, and is none of the end tokens of "
            "generation_config.json (15), so the model was perhaps never trained to write it; make sure that all three "
            "belong to the model"
        ],
    ),
    "an ordinary token as an end": (
        generation(eos_token_id=[15, 3]),
        [
            "generation_config.json ends a response at '3' (3), which is an ordinary token, so responses end wherever "
            "it is written; fix its eos_token_id"
        ],
    ),
    "an end that is no token": (
        generation(eos_token_id=[15, 99]),
        [
            "generation_config.json ends a response at 99, which its tokenizer does not have; fix its eos_token_id, or "
            "take the tokenizer that belongs to the model"
        ],
    ),
    "several ends": (generation(eos_token_id=[16, 15]), []),
    "padding with the end token": (tokenizer(pad_token="<end>"), []),
    "no padding token": (tokenizer(pad_token=None), []),
    "no generation config": (remove("generation_config.json"), []),
}


@pytest.mark.parametrize("role", ["student", "teacher"])
@pytest.mark.parametrize(("change", "doubts"), DOUBTS.values(), ids=DOUBTS)
def test_where_the_template_does_not_show_the_end_of_a_turn_check_warns(
    local_project: Project, role: str, change: Callable[[Path], None], doubts: list[str]
):
    change(local_project.root / role)

    warnings = warnings_of(local_project)

    assert warnings == [
        f"{local_project.params_file}: {KEYS[role]}: {local_project.root}/{role}: {doubt}" for doubt in doubts
    ]


THINKS = (
    "{% for m in messages %}{{ m['content'] }}<end>{% endfor %}"
    "{% if add_generation_prompt and enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
)


def test_a_side_that_thinks_alone_and_thoughts_that_would_be_cut_are_warned_of(local_project: Project):
    template(THINKS)(local_project.root / "student")

    alone, cut = warnings_of(local_project)

    assert alone.startswith(
        f"{local_project.params_file}: teacher.chat_template_kwargs: the student's chat template "
    )
    assert cut.startswith(f"{local_project.params_file}: models.chat_template_kwargs: ")
    assert "rollout.max_new_tokens 48" in cut
    local_project.edit(models__chat_template_kwargs={"enable_thinking": False})
    assert not [line for line in warnings_of(local_project) if "chat_template_kwargs" in line]


def test_a_teacher_that_has_lost_its_template_is_warned_of(local_project: Project):
    template(ROLES.replace("ANSWERED", "<end>"))(local_project.root / "student")

    _, [line], _ = check(local_project.params_file)

    assert (
        f"teacher.model: {local_project.root}/teacher: has no chat template, and the student has one" in line
    )


def test_both_sides_may_think_and_responses_be_long_enough(local_project: Project):
    for role in ("student", "teacher"):
        template(THINKS)(local_project.root / role)

    [cut] = warnings_of(local_project)

    assert "models.chat_template_kwargs" in cut
    student = load_chat(str(local_project.root / "student"))
    assert side_warnings(student, None, max_new_tokens=THOUGHT_LEN) == []


def test_a_newline_may_follow_the_end_token(tmp_path: Path):
    from omniopd.preflight.check_models import end_warnings

    characters = character_tokenizer(f"{ALPHABET}\n")
    characters.chat_template = ROLES.replace("ANSWERED", "<end>\n")
    assert end_warnings(str(tmp_path), Chat(characters)) == []
    characters.chat_template = ROLES.replace("ANSWERED", "\n")
    [line] = end_warnings(str(tmp_path), Chat(characters))
    assert "its chat template ends a turn with nothing" in line


def test_a_template_that_takes_no_prompt_is_refused(local_project: Project):
    template("{{ raise_exception('never') }}")(local_project.root / "student")

    assert refusal(local_project, ModelError) == [
        "params.yaml: models.student: student: its chat template does not take a prompt (never); fix "
        "chat_template.jinja or tokenizer_config.json"
    ]


def test_a_tokenizer_of_more_tokens_than_the_model_has_is_refused(local_project: Project, models: Path):
    shutil.copy(models / "words" / "tokenizer.json", local_project.root / "student" / "tokenizer.json")

    assert refusal(local_project, ModelError) == [
        "params.yaml: models.student: student: the tokenizer's last token is 1017, and the model has 18 (vocab_size "
        "in config.json); save the tokenizer that belongs to the model"
    ]


# --- what cannot be trained or saved

UNSAVED = {
    "a temperature without sampling": ({"do_sample": False, "temperature": 0.6}, "temperature"),
    "top_p of no sampling": ({"top_p": 0.9}, "top_p"),
    "several sequences": ({"num_return_sequences": 3}, "num_return_sequences"),
    "no new tokens": ({"max_new_tokens": 0}, "max_new_tokens"),
}


@pytest.mark.parametrize(("settings", "named"), UNSAVED.values(), ids=UNSAVED)
def test_a_generation_config_that_no_checkpoint_could_hold_is_refused(
    local_project: Project, settings: dict, named: str
):
    generation(**settings)(local_project.root / "student")

    [line] = refusal(local_project, ModelError)

    assert line.startswith("params.yaml: models.student: student: generation_config.json cannot be ")
    assert named in line


def test_a_generation_config_that_cannot_be_read_is_refused(local_project: Project):
    (local_project.root / "student" / "generation_config.json").write_text("{")

    [line] = refusal(local_project, ModelError)

    assert line.startswith("params.yaml: models.student: student: generation_config.json cannot be used (")


LORA = {"rank": 2, "alpha": 4.0}
TARGETS = {
    "the head": (["q_proj", "lm_head"], "lm_head is the head"),
    "no layer": (["q_proj", "c_attn"], "c_attn names no layer of Qwen3ForCausalLM"),
    "a norm": (["norm"], "norm is a Qwen3RMSNorm, not a linear layer"),
}


@pytest.mark.parametrize(("targets", "reason"), TARGETS.values(), ids=TARGETS)
def test_what_takes_no_adapter_is_refused_with_the_arm_and_the_reason(
    local_project: Project, targets: list, reason: str
):
    local_project.edit_paths({"arms.omniopd.train": {"lora": {**LORA, "targets": targets}}})

    [line] = refusal(local_project, ConfigError)

    assert line.startswith(f"params.yaml: arms.omniopd: train.lora.targets: {reason}")
    assert line.endswith("take some of down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj")


def test_a_student_that_ignores_its_prompts_is_refused(local_project: Project):
    template("1+1=")(local_project.root / "student")

    [line] = refusal(local_project, ModelError)

    assert line.startswith("params.yaml: models.student: student: its chat template renders ")


def test_the_context_of_a_multimodal_model_is_that_of_its_text():
    config = Gemma3Config(text_config={"max_position_embeddings": 77}, vision_config={})
    assert context_len(config) == 77
