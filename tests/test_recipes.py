"""Recipes: their settings hold, the plan speaks of them, and a stand-in of their architecture runs through each arm."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from projects import REPOSITORY, Project, run_plain
from teacher_mind import AdditionMind
from teacher_server import TeacherServer, running
from transformers import Qwen3Config, Qwen3ForCausalLM

from omniopd.config import load_params
from omniopd.data.layout import Layout
from omniopd.data.prompts import read_prompts
from omniopd.errors import ConfigError
from omniopd.preflight.fit import fits
from omniopd.preflight.plan import plan
from omniopd.teachers import loop
from omniopd.training.pretrain import character_tokenizer

DEMO = REPOSITORY / "omniopd" / "recipes" / "demo.yaml"  # trains its models itself
RECIPES = sorted({*DEMO.parent.glob("*.yaml")} - {DEMO})
GIB = 2**30
SHAPES = {  # of the models that recipes name, as their configurations have them
    name: {"hidden_size": width, "intermediate_size": ffn, "num_hidden_layers": layers, "num_attention_heads": heads}
    for name, width, ffn, layers, heads in (
        ("Qwen/Qwen3-1.7B", 2048, 6144, 28, 16), ("Qwen/Qwen3-4B", 2560, 9728, 36, 32),
    )
}  # fmt: skip
CHARACTERS = "0123456789+=;> \nabcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ?.,/\\{}"
TEMPLATE = (
    "{% for message in messages %}{{ '<start>' + message['content'] + '<end>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start>' }}{% endif %}"
)

each_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=[path.stem for path in RECIPES])

INSTRUCTION = "within \\boxed{}."  # the end of what recipes ask


def _row_like(source: str, question: str) -> dict:
    """A row as that dataset has them, which its recipe's mapping is for."""
    if source == "openai/gsm8k":
        return {"question": question, "answer": "One is <<1=1>>1.\n#### 1"}
    message = {"role": "user", "content": question}
    return {"prompt": [message], "reward_model": {"ground_truth": "1", "style": "rule"}, "ability": "MATH"}


def _shape(name: str, **changed) -> Qwen3Config:
    sizes = {**SHAPES[name], "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151_936, **changed}
    return Qwen3Config(**sizes, tie_word_embeddings=True)


@each_recipe
def test_a_recipe_has_every_setting_and_trains_within_the_memory_that_it_states(recipe: Path):
    params = load_params(recipe)
    head = recipe.read_text().split("seeds:")[0]
    [stated] = [line for line in head.splitlines() if line.startswith("# MEMORY")]
    gib = float(stated.split("about ")[1].split(" GiB")[0])
    needed = [
        fit.memory.peak / GIB for fit in fits(params, _shape(params.models.student), None, longest_prompt=300)
    ]
    assert max(needed) == pytest.approx(gib, rel=0.1)
    for word in ("# GPUs", "# COST", "Not measured", "(an estimate"):
        assert word in head


def test_a_recipe_is_taken_by_its_name_and_overridden(tmp_path: Path):
    path = tmp_path / "params.yaml"
    path.write_text(
        "recipe: qwen3-1.7b-gsm8k-vllm\ntrain: { num_rounds: 3 }\narms: { mine: { method: fork } }\n"
    )
    [recipe] = [file for file in RECIPES if file.stem == "qwen3-1.7b-gsm8k-vllm"]
    expected, params = load_params(recipe), load_params(path)

    assert (params.train.num_rounds, params.train.lr) == (3, expected.train.lr)
    assert params.prompts == expected.prompts
    assert list(params.arms) == ["mine"]
    path.write_text("recipe: qwen3-1.7b-gsm8k\n")
    with pytest.raises(
        ConfigError, match=r"recipe: 'qwen3-1.7b-gsm8k' is not a packaged recipe; .*qwen3-4b-dapo-vllm"
    ):
        load_params(path)


@each_recipe
def test_a_recipe_is_short_and_its_head_says_how_to_run_it(recipe: Path):
    lines = recipe.read_text().splitlines()
    head = "\n".join(line for line in lines if line.startswith("#"))
    assert len(lines) <= 30
    assert f'"recipe: {recipe.stem}"' in head
    for word in ("# RUN", "# GPUs", "# MEMORY", "# COST", "# Not measured"):
        assert word in head


@pytest.fixture
def server():
    with running(TeacherServer(_Answering())) as server:
        yield server
    loop.close()


class _Answering(AdditionMind):
    """Writes after the instruction that a recipe puts behind a prompt, of which it would think that it is an answer."""

    def split(self, text: str) -> tuple[str, str]:
        end = text.rfind(INSTRUCTION) + len(INSTRUCTION)
        return text[:end], text[end:]


@pytest.fixture
def stand_in(tmp_path: Path):
    """Few layers of the student's architecture, with numbers drawn at random, and a chat template."""

    def made(name: str) -> Path:
        tokenizer = character_tokenizer(CHARACTERS)
        tokenizer.chat_template = TEMPLATE
        torch.manual_seed(0)
        small = {
            "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
            "num_key_value_heads": 1, "head_dim": 16, "vocab_size": len(tokenizer),
        }  # fmt: skip
        ends = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id}
        model = Qwen3ForCausalLM(_shape(name, **small, **ends, pad_token_id=tokenizer.pad_token_id))
        model.save_pretrained(tmp_path / "student")
        tokenizer.save_pretrained(tmp_path / "student")
        return tmp_path / "student"

    return made


@pytest.mark.slow
@each_recipe
def test_a_stand_in_runs_through_every_arm_of_a_recipe(recipe: Path, stand_in, server, tmp_path: Path):
    params = load_params(recipe)
    project = Project(tmp_path / "project")
    project.root.mkdir()
    shutil.copy(recipe, project.params_file)
    rows = [_row_like(params.prompts.source, f"{1000 + i}+{2000 + i}=") for i in range(40)] * 3
    (project.root / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    project.edit_paths(
        {
            "models.student": str(stand_in(params.models.student)), "seeds": [0],
            "prompts.source": "prompts.jsonl", "prompts.decontaminate.against": [],
            "prompts.num_train": 16, "prompts.num_validation": 4, "prompts.num_heldout": 4,
            "teacher.model": "hosted_vllm/demo", "teacher.base_url": server.url,
            "teacher.way": "completion", "teacher.request": {},
            "teacher.prices": {"input": 1.0, "output": 5.0},
            "rollout.engine": "transformers", "rollout.engine_settings": {},
            "rollout.num_prompts": 8, "rollout.batch_size": 8, "rollout.max_new_tokens": 24,
            "train.num_rounds": 2, "train.batch_size": 8, "train.batch_tokens": 100, "train.checkpoint_every": 2,
            "train.validate_every": 2, "train.warmup_rounds": 1, "train.shard": False,
            "compute.num_processes": 1, "compute.where": {}, "compute.num_threads": 1, "tracking.enabled": False,
            "methods.omniopd.num_chunks": 2, "methods.omniopd.num_replies": 2, "methods.omniopd.chunk_len": 4,
        }
    )  # fmt: skip
    project.make_base()
    trained = read_prompts(Layout(project.root).prompts(0, "train"))
    assert len({prompt.prompt for prompt in trained}) == 16
    assert {prompt.answer for prompt in trained} == {"1"}
    assert all(prompt.prompt.endswith(INSTRUCTION) for prompt in trained)
    planned = plan(load_params(project.params_file), Layout(project.root), trained)
    asked = {row.name for row in planned.rows}
    for arm in params.arms:
        run_plain(project.params_file, arm)
        lines = (project.run_dir(arm) / "metrics.jsonl").read_text().splitlines()
        rounds = [json.loads(line) for line in lines]
        assert len(rounds) == 3
        assert rounds[1]["grad_norm"] > 0
        assert arm in asked
