"""The trainer's forward pass over responses."""

import copy

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from omniopd.data.rows import Row
from omniopd.errors import ModelError
from omniopd.models.scoring import check_head, check_packing, score

SIZES = {
    "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
HEADS = {
    "qwen3": {}, "llama": {}, "mistral": {}, "gemma2": {"final_logit_softcapping": 3.0},
    "gemma3_text": {"final_logit_softcapping": 3.0}, "cohere": {"logit_scale": 0.25},
    "granite": {"logits_scaling": 4.0}, "gpt2": {"n_embd": 16, "n_layer": 1, "n_head": 2}, "phi": {}, "olmo2": {},
}  # fmt: skip


def _random(kind: str, **more):
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind, **(SIZES if kind != "gpt2" else {"vocab_size": 40}), **HEADS[kind], **more
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.get_output_embeddings().parameters():
            parameter.mul_(40)  # so that caps and scales are felt
    return model


@pytest.mark.parametrize("kind", HEADS)
def test_the_heads_of_known_architectures_are_read_with_their_scales_caps_and_biases(kind: str):
    model = _random(kind)
    check_head(model)
    row = Row("a", [1, 10, 2, 11], [3, 12, 15])
    [(entropies, logps)] = score(model, [row])
    with torch.no_grad():
        z = model(input_ids=torch.tensor([[*row.prompt_ids, *row.response_ids]])).logits[0].log_softmax(-1)
    z = z[len(row.prompt_ids) - 1 : -1]
    assert logps == pytest.approx([z[t, token].item() for t, token in enumerate(row.response_ids)], abs=1e-4)
    assert entropies == pytest.approx([-(row.exp() * row).sum().item() for row in z], abs=1e-4)


def test_a_head_that_does_something_else_is_refused():
    model = _random("llama")
    model.lm_head.register_forward_hook(lambda layer, inputs, logits: logits * 2)  # noqa: ARG005
    with pytest.raises(
        ModelError, match="LlamaForCausalLM turns hidden states into logits in a way that is not"
    ):
        check_head(model)


@pytest.mark.parametrize("kind", ["qwen3", "llama", "gemma3_text", "mistral"])
def test_packed_sequences_are_separate_or_refused(kind: str):
    model = _random(kind)
    check_packing(model)
    model.base_model.register_forward_pre_hook(
        lambda module, inputs, named: (inputs, named | {"position_ids": None}),  # noqa: ARG005
        with_kwargs=True,
    )
    with pytest.raises(ModelError, match="does not tell packed sequences apart; set train.packing: false"):
        check_packing(model)


def test_scores_equal_a_plain_forward_pass(model):
    rows = [Row("a", [1, 10, 2, 11], [3, 12, 15]), Row("b", [4, 11], [8])]
    for row, (entropies, logps) in zip(rows, score(model, rows), strict=True):
        with torch.no_grad():
            z = (
                model(input_ids=torch.tensor([[*row.prompt_ids, *row.response_ids]]))
                .logits[0]
                .log_softmax(-1)
            )
        z = z[len(row.prompt_ids) - 1 : -1]
        assert logps == pytest.approx(
            [z[t, token].item() for t, token in enumerate(row.response_ids)], abs=1e-5
        )
        assert entropies == pytest.approx([-(row_.exp() * row_).sum().item() for row_ in z], abs=1e-5)


def test_a_head_whose_logits_are_no_numbers_is_refused(model):
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.model.norm.weight[0] = float("inf")
    with pytest.raises(ModelError, match="NaN or infinity"):
        check_head(other)
