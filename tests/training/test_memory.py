"""The estimate of a step's memory: against the peak of a real step, and in what it depends on."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from peak import config_of
from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3MoeConfig

from omniopd.errors import ModelError
from omniopd.functional import SHEET_ELEMENTS, num_sheets
from omniopd.functional.sheets import GPU_SHEET
from omniopd.training.memory import ALLOWANCE, MASTER, StepShape, count_parameters, size_of, training_memory

HERE = Path(__file__).parent
SMALL = config_of(128, 2, 500)
STEP = StepShape(num_sequences=4, seq_len=100, response_len=60, scores={"logp", "entropy"})


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.parametrize(
    ("method", "shape", "settings", "cases"),
    [
        ("sft", (640, 8, 32_000, 256), {}, ("1x1", "2x2", "4x1")),  # 60 million parameters, no frozen model
        ("sft", (512, 12, 16_000, 256), {"gradient_checkpointing": True}, ("12x1",)),  # 46 million
        ("omniopd", (512, 6, 50_000, 256), {}, ("2x2",)),  # 44 million, and the reference
    ],
)
def test_the_estimate_is_within_a_quarter_of_what_a_step_takes(
    method: str, shape: tuple[int, ...], settings: dict[str, bool], cases: tuple[str, ...]
):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[1])}
    if settings:  # what is computed again leaves holes in glibc's heap, which it keeps
        environment["MALLOC_MMAP_THRESHOLD_"] = "65536"
    command = [sys.executable, str(HERE / "peak.py"), method, *map(str, shape), json.dumps(settings), *cases]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stderr

    measured = json.loads(done.stdout)

    assert measured["num_parameters"] > 40_000_000
    for step in measured["steps"]:
        assert step["peak"] == pytest.approx(step["measured"], rel=0.25)


def test_parameters_are_counted_without_weights():
    model = Qwen3ForCausalLM(SMALL)
    expected = sum(parameter.numel() for parameter in model.parameters())
    assert count_parameters(SMALL) == size_of(SMALL).num_parameters == expected
    large = Qwen3Config(
        vocab_size=151_936, hidden_size=5120, intermediate_size=25_600, num_hidden_layers=64,
        num_attention_heads=64, num_key_value_heads=8, head_dim=128, tie_word_embeddings=False,
    )  # fmt: skip
    assert count_parameters(large) == pytest.approx(32.8e9, rel=0.01)  # Qwen3-32B, as it is called


def test_a_tied_embedding_is_counted_once():
    apart = Qwen3Config(**{**SMALL.to_dict(), "tie_word_embeddings": False})
    assert size_of(SMALL).num_embeddings == size_of(SMALL).head_size == 500 * 128
    assert size_of(apart).num_embeddings == 2 * 500 * 128


def test_the_parts_are_what_their_names_say():
    size = size_of(SMALL)
    memory = training_memory(size, replace(STEP, frozen_parameters=[1000]))
    assert memory.parameters == memory.gradients == size.num_parameters * MASTER
    assert memory.moments == 2 * memory.gradients
    assert memory.frozen == 1000 * 4
    sheets = num_sheets({"logp", "entropy"}) * 4 * 60 * 500 * 4
    assert memory.loss == sheets + 4 * 60 * 128 * (4 + 2 * 4) + 500 * 128 * 4
    rest = memory.gradients + max(memory.working, memory.activations + memory.loss)
    assert memory.peak == round((memory.parameters + memory.moments + memory.frozen + rest) * ALLOWANCE)


def test_sheets_of_logits_stay_as_large_as_they_are_however_long_responses_get():
    size = replace(size_of(SMALL), vocab_size=151_936)
    short, long = (training_memory(size, replace(STEP, response_len=n)) for n in (1000, 2000))
    hidden = 4 * 1000 * 128 * (4 + 4)
    assert long.loss - short.loss == hidden
    assert short.loss - hidden - 500 * 128 * 4 == SHEET_ELEMENTS * 4


def test_on_a_gpu_they_are_longer_and_of_what_products_are_taken_in():
    size = replace(size_of(SMALL, compute_bytes=2), vocab_size=151_936)
    on_cpu, on_gpu = (
        training_memory(size, replace(STEP, response_len=2000, compute_bytes=2, on_gpu=on))
        for on in (False, True)
    )
    assert on_gpu.loss - on_cpu.loss == SHEET_ELEMENTS * (GPU_SHEET * 2 - 4)


@pytest.mark.parametrize(
    ("scores", "count"),
    [
        ({"logp", "entropy"}, 1),
        ({"logp", "ref_kl"}, 2),
        ({"kl_to_teacher"}, 2),
        ({"ref_kl", "kl_to_teacher"}, 3),
        ({"ref_kl", "kl_to_ref"}, 3),
    ],
)
def test_a_sheet_for_the_student_and_one_for_each_model_beside_it(scores, count: int):
    assert num_sheets(scores) == count


def test_what_makes_it_less():
    size = size_of(SMALL)
    plain = training_memory(size, STEP)
    fewer = training_memory(size, replace(STEP, num_sequences=2))
    assert (plain.activations - size.kept) == pytest.approx(2 * (fewer.activations - size.kept))
    again = training_memory(size, replace(STEP, gradient_checkpointing=True))
    assert again.activations < plain.activations
    adapter = training_memory(size, replace(STEP, lora_parameters=5000))
    assert (adapter.gradients, adapter.moments) == (5000 * 4, 5000 * 8)
    assert adapter.parameters == plain.parameters + 5000 * 4
    shared = training_memory(size, replace(STEP, num_sharing=4))
    assert shared.moments == plain.moments / 4
    assert plain.parameters / 4 < shared.parameters
    halved = training_memory(
        size_of(SMALL, compute_bytes=2), replace(STEP, compute_bytes=2, frozen_parameters=[1000])
    )
    assert halved.frozen == 2000
    assert halved.parameters == plain.parameters  # weights that are trained stay float32
    assert halved.activations < plain.activations + 2 * size.num_parameters


def test_bfloat16_keeps_a_copy_of_each_layers_weights():
    size = size_of(SMALL, compute_bytes=2)
    in_layers = size.num_parameters - size.num_embeddings
    assert size.kept == pytest.approx(2 * in_layers, rel=0.05)
    assert size.kept_per_token < size_of(SMALL).kept_per_token


def test_a_mixture_of_experts_is_estimated():
    config = Qwen3MoeConfig(
        vocab_size=500, hidden_size=128, intermediate_size=256, moe_intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, head_dim=64, num_experts=8, num_experts_per_tok=2,
    )  # fmt: skip
    assert size_of(config).kept_per_token == 2 * size_of(config, compute_bytes=2).kept_per_token > 0


def test_a_model_that_cannot_be_built_is_told_of_in_one_sentence():
    broken = Qwen3Config(**{**SMALL.to_dict(), "hidden_size": -1})
    with pytest.raises(ModelError, match=r"the memory that a qwen3 takes cannot be estimated \(.*\); watch"):
        size_of(broken)
