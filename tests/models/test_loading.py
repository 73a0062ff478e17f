"""Models are loaded whole, or refused in one sentence: never with weights that no file holds."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from text_models import save_text_model
from transformers import AutoModelForCausalLM, Gemma3TextConfig, GPT2Config, LlamaConfig, MambaConfig

from omniopd.config import Lora
from omniopd.errors import AdapterError, ModelError
from omniopd.models.adapters import adapter_state, add_adapter
from omniopd.models.integrity import check_finite, lost_weights
from omniopd.models.loading import check_weights, context_len, load_config, load_model
from omniopd.models.scoring import check_head

SMALL = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
NORM = "model.layers.0.input_layernorm.weight"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers, without a tied head. Not to be written to."""
    folder = tmp_path_factory.mktemp("models") / "llama"
    AutoModelForCausalLM.from_config(LlamaConfig(**SMALL)).save_pretrained(folder)
    return folder


@pytest.fixture
def model(whole: Path, tmp_path: Path) -> Path:
    """A copy, to damage."""
    shutil.copytree(whole, tmp_path / "llama")
    return tmp_path / "llama"


def refusal(check: Callable[[str], object], model: Path) -> str:
    with pytest.raises(ModelError) as caught:
        check(str(model))
    [line] = str(caught.value).splitlines()
    assert line.startswith(f"{model}: ")
    assert "; " in line
    return line


def edit_weights(model: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(model / "model.safetensors")
    change(weights)
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})


def edit_config(model: Path, **changes: object) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | changes))


both = pytest.mark.parametrize("check", [check_weights, load_model])


@both
def test_missing_weights_are_named_and_never_filled_at_random(check, model: Path):
    edit_weights(model, lambda weights: [weights.pop(name) for name in (NORM, "lm_head.weight")])
    line = refusal(check, model)
    assert "2 of the weights" in line
    assert "lm_head.weight" in line
    assert NORM in line


@both
def test_weights_of_another_shape_are_named_with_both_shapes(check, model: Path):
    edit_weights(model, lambda weights: weights.update({NORM: torch.ones(15)}))
    line = refusal(check, model)
    assert f"{NORM} is 15 in the file, and 16 by config.json" in line


@both
def test_layers_that_the_configuration_does_not_have_are_not_dropped(check, model: Path):
    edit_config(model, num_hidden_layers=1)
    line = refusal(check, model)
    assert "model.layers.1." in line
    assert "config.json" in line


def test_norms_of_another_architecture_are_not_dropped():
    expected = ["model.layers.0.self_attn.q_proj.weight", "lm_head.weight"]
    unexpected = [
        "model.layers.0.self_attn.q_norm.weight",
        "model.layers.0.self_attn.q_proj.bias",
        "model.layers.0.self_attn.bias",  # a causal mask
        "model.layers.0.self_attn.q_proj.k_scale",
        "score.weight",
        "mtp.layers.0.q_proj.weight",
    ]
    assert lost_weights(unexpected, expected) == sorted(unexpected[:2])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_refused_at_load(model: Path, value: float):
    edit_weights(model, lambda weights: weights[NORM].index_fill_(0, torch.tensor([3]), value))
    line = refusal(load_model, model)
    assert f"1 of the weights hold NaN or infinity ({NORM})" in line


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_largest_numbers_of_a_dtype_are_numbers(dtype: torch.dtype):
    largest = torch.full((64, 64), torch.finfo(dtype).max, dtype=dtype)
    check_finite(
        "m", [("a", largest), ("b", -largest), ("c", torch.zeros(0)), ("d", torch.ones(2, dtype=torch.int8))]
    )
    with pytest.raises(ModelError, match="b"):
        check_finite("m", [("a", largest), ("b", largest * 2)])


CONFIGS = {
    "qwen3, tied": None,
    "llama in bfloat16": LlamaConfig(**SMALL, dtype="bfloat16"),
    "llama, tied": LlamaConfig(**SMALL, tie_word_embeddings=True),
    "gpt2": GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2),
    "gemma3": Gemma3TextConfig(**SMALL, num_key_value_heads=1, head_dim=8),
    "mamba": MambaConfig(vocab_size=40, hidden_size=16, num_hidden_layers=2, state_size=4),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_whole_models_are_loaded_in_one_file_and_in_several(config, tmp_path: Path):
    if config is None:
        save_text_model(tmp_path / "m")
    else:
        model = AutoModelForCausalLM.from_config(config)
        model.save_pretrained(tmp_path / "m", max_shard_size="4KB")
        assert len(list((tmp_path / "m").glob("*.safetensors"))) > 1
    check_weights(str(tmp_path / "m"))
    assert not load_model(str(tmp_path / "m")).training


CONFIG_FAULTS = {
    "layers that its types do not count": (
        {"model_type": "qwen3", "layer_types": ["full_attention"]},
        "layer",
    ),
    "a dtype that torch does not have": ({"dtype": "float99"}, "float99"),
    "NaN in a setting": ({"rms_norm_eps": float("nan")}, "rms_norm_eps is NaN"),
    "NaN in a size": ({"hidden_size": float("nan")}, "hidden_size"),
    "no heads": ({"num_attention_heads": 0}, "zero"),
    "more layers than weights": ({"num_hidden_layers": 10**9}, "1000000000 layers"),
    "an unknown activation": ({"hidden_act": "nope"}, "nope"),
    "a list": ({"quantization_config": [1]}, "config.json"),
    "a package that is missing": (
        {"quantization_config": {"quant_method": "gptq", "bits": 4}},
        "install that package",
    ),
}


@pytest.mark.parametrize(("changes", "named"), CONFIG_FAULTS.values(), ids=CONFIG_FAULTS)
def test_a_configuration_that_cannot_be_used_is_reported_in_one_line(model: Path, changes: dict, named: str):
    edit_config(model, **changes)
    assert named in refusal(check_weights, model)


@pytest.mark.parametrize("text", ["", "[]", '"x"', "{", "\x00", "{}", '{"model_type": 7}', "[" * 10_000])
def test_a_configuration_that_is_none_is_reported_in_one_line(model: Path, text: str):
    (model / "config.json").write_text(text)
    refusal(check_weights, model)


def test_bytes_in_place_of_a_configuration_are_reported_in_one_line(model: Path):
    (model / "config.json").write_bytes(bytes(range(128, 256)))
    assert "config.json" in refusal(load_config, model)


def test_an_adapter_is_no_model(model: Path):
    (model / "adapter_config.json").write_text("{}")
    assert "merge_and_unload" in refusal(check_weights, model)


def test_an_adapter_goes_onto_the_layers_of_gpt2_which_are_not_nn_linear():
    model = AutoModelForCausalLM.from_config(GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2)).eval()
    add_adapter(model, Lora(rank=2, alpha=4, targets=["c_attn"]), seed=0)
    check_head(model)
    assert len(adapter_state(model)) == 4


def test_a_model_without_linear_layers_is_reported_as_such():
    model = AutoModelForCausalLM.from_config(LlamaConfig(**SMALL | {"num_hidden_layers": 0}))
    with pytest.raises(AdapterError, match="LlamaForCausalLM has no linear layers"):
        add_adapter(model, Lora(rank=2, alpha=4, targets="all-linear"), seed=0)


@pytest.mark.parametrize(
    ("rope", "length"),
    [
        ({"rope_type": "default"}, 4096),
        ({"rope_type": "longrope", "original_max_position_embeddings": 512, "short_factor": [1.0] * 4,
          "long_factor": [2.0] * 4}, 512),
        ({"rope_type": "dynamic", "factor": 2.0}, 4096),
    ],
)  # fmt: skip
def test_a_context_ends_where_rotary_embeddings_change(rope: dict, length: int):
    config = LlamaConfig(
        **SMALL | {"max_position_embeddings": 4096}, rope_parameters={"rope_theta": 1e4, **rope}
    )
    assert context_len(config) == length
