"""Tiny models with random weights of the architectures in docs/models.md, and what each is expected to do."""

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

NUM_TOKENS = 48
WINDOW = 6  # tokens that a layer attends to; shorter than the prompts of the tests
SIZES = {
    "vocab_size": NUM_TOKENS, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 160, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 160}
SLIDING = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
HEADS = {"head_dim": 8}
LATENT = {
    "q_lora_rank": 8, "kv_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8,
    "num_key_value_heads": 4,
}  # fmt: skip
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LOCAL = {"num_local_experts": 4, "num_experts_per_tok": 2}
ROUTED = {
    "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "first_k_dense_replace": 1,
}  # fmt: skip
GROUPED = {**ROUTED, "n_group": 2, "topk_group": 1}
INDEXED = {**LATENT, **GROUPED, "index_topk": 4, "index_n_heads": 2, "index_head_dim": 16}
LINEAR = {
    "layer_types": ["linear_attention", "full_attention"], "linear_num_key_heads": 2, "linear_num_value_heads": 4,
    "linear_key_head_dim": 8, "linear_value_head_dim": 8, "head_dim": 8,
}  # fmt: skip
STATE = {
    "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_d_ssm": 64, "mamba_n_groups": 1,
    "mamba_chunk_size": 8,
}  # fmt: skip


@dataclass(frozen=True)
class Architecture:
    """One row of the table.

    >>> Architecture({}, group="attention").packs
    True
    """

    config: dict[str, Any] = field(default_factory=dict)
    group: Literal["attention", "windows", "experts", "states", "refused"] = "attention"
    packs: bool = True  # whether sequences can be packed in training
    model_type: str = ""  # where the name is another
    # What is said of a model that is refused, and whether it is its generation, its head or its batches.
    refusal: str = ""


def _windows(*, packs: bool = True, model_type: str = "", **config: Any) -> Architecture:
    return Architecture(config, "windows", packs, model_type)


def _experts(*, packs: bool = True, **config: Any) -> Architecture:
    return Architecture(config, "experts", packs)


def _states(**config: Any) -> Architecture:
    return Architecture(config, "states", packs=False)


def _refused(refusal: str, **config: Any) -> Architecture:
    return Architecture(config, "refused", refusal=refusal)


ARCHITECTURES = {
    "qwen3": Architecture(HEADS),
    "llama": Architecture(),
    "gemma3_text": _windows(**HEADS, **SLIDING),
    "gpt_oss": _windows(**HEADS, **LOCAL, **SLIDING, packs=False),
    "deepseek_v3": _experts(**LATENT, **GROUPED),
    "qwen2": Architecture(),
    "phi": Architecture(),
    "phi3": Architecture(),
    "olmo": Architecture(),
    "olmo2": Architecture(),
    "cohere": Architecture({"logit_scale": 0.25}),
    "gemma": Architecture(HEADS),
    "granite": Architecture({"logits_scaling": 4.0, "embedding_multiplier": 2.0, "residual_multiplier": 0.5}),
    "glm": Architecture(HEADS),
    "glm4": Architecture(HEADS),
    "smollm3": Architecture({"no_rope_layers": [1, 0]}),
    "stablelm": Architecture(),
    "starcoder2": Architecture({"sliding_window": None}),
    "gpt_neox": Architecture(),
    "gptj": Architecture({**GPT, "rotary_dim": 4}),
    "nemotron": Architecture(),
    "seed_oss": Architecture(HEADS),
    "ernie4_5": Architecture(HEADS),
    "hunyuan_v1_dense": Architecture(HEADS),
    "apertus": Architecture(),
    "minicpm3": Architecture(LATENT),
    "gpt2": Architecture(GPT),
    "gpt_bigcode": Architecture(GPT),
    "opt": Architecture({"ffn_dim": 48, "word_embed_proj_dim": 32}, packs=False),
    "bloom": Architecture({"n_layer": 2, "n_head": 4}, packs=False),
    "mpt": Architecture(
        {"d_model": 32, "n_layers": 2, "n_heads": 4, "expansion_ratio": 2, "max_seq_len": 160}, packs=False
    ),
    "falcon": Architecture(
        {"alibi": False, "new_decoder_architecture": True, "num_kv_heads": 2, "bias": False}, packs=False
    ),
    "falcon-alibi": Architecture({"alibi": True}, packs=False, model_type="falcon"),
    "mistral": _windows(**HEADS, sliding_window=WINDOW),
    "ministral": _windows(**HEADS, **SLIDING),
    "gemma2": _windows(**HEADS, **SLIDING, final_logit_softcapping=3.0),
    "olmo3": _windows(**SLIDING),
    "cohere2": _windows(**SLIDING, logit_scale=0.25),
    "exaone4": _windows(**SLIDING),
    "qwen2-sliding": _windows(
        use_sliding_window=True, max_window_layers=0, sliding_window=WINDOW, model_type="qwen2"
    ),
    "starcoder2-sliding": _windows(sliding_window=WINDOW, model_type="starcoder2"),
    "gpt_neo": _windows(
        num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]], window_size=WINDOW
    ),
    "llama4_text": _windows(
        **HEADS, **LOCAL | {"num_experts_per_tok": 1}, attention_chunk_size=WINDOW, intermediate_size_mlp=48,
        layer_types=["chunked_attention", "full_attention"], no_rope_layers=[1, 0], packs=False,
    ),
    "qwen2_moe": _experts(**EXPERTS, shared_expert_intermediate_size=16),
    "qwen3_moe": _experts(**EXPERTS, **HEADS),
    "mixtral": _experts(**LOCAL),
    "olmoe": _experts(num_experts=4, num_experts_per_tok=2),
    "granitemoe": _experts(**LOCAL),
    "phimoe": _experts(**LOCAL),
    "ernie4_5_moe": _experts(moe_num_experts=4, moe_k=2, moe_intermediate_size=16, **HEADS),
    "glm4_moe": _experts(**ROUTED, **HEADS),
    "deepseek_v2": _experts(**LATENT, **ROUTED, **HEADS, n_group=1, topk_group=1),
    "minimax_m2": _experts(**LOCAL, **HEADS),
    "qwen3_next": _states(**LINEAR, **EXPERTS, shared_expert_intermediate_size=16),
    "qwen3_5_text": _states(**LINEAR),
    "olmo_hybrid": _states(**LINEAR),
    "jamba": _states(
        num_experts=2, attn_layer_period=2, attn_layer_offset=1, expert_layer_period=2, expert_layer_offset=1,
        use_mamba_kernels=False, mamba_d_state=8, mamba_dt_rank=4,
    ),
    "falcon_h1": _states(**STATE, **HEADS),
    "bamba": _states(**STATE, attn_layer_indices=[1]),
    "granitemoehybrid": _states(
        **STATE, **LOCAL, shared_intermediate_size=16, layer_types=["mamba", "attention"]
    ),
    "lfm2": _states(layer_types=["conv", "full_attention"], conv_L_cache=3, block_auto_adjust_ff_dim=False),
    "mamba": _states(state_size=8, time_step_rank=4),
    "mamba2": _states(num_heads=8, head_dim=8, state_size=8, n_groups=1, chunk_size=8),
    "falcon_mamba": _states(state_size=8, time_step_rank=4),
    "nemotron_h": _refused(
        "does not generate from a cache", layers_block_type=["mamba", "attention"], mamba_num_heads=4,
        mamba_head_dim=16, ssm_state_size=8, n_groups=1, chunk_size=8, **HEADS,
    ),
    "rwkv": _refused("does not generate from a cache", attention_hidden_size=32, context_length=160),
    "recurrent_gemma": _refused(
        "does not generate from a cache", lru_width=32, attention_window_size=WINDOW, **HEADS, num_hidden_layers=3,
        num_key_value_heads=1,
    ),
    "xlstm": _refused("does not generate from a cache", embedding_dim=32, num_heads=4, num_blocks=2, chunk_size=8),
    "minimax": _refused(
        "does not generate from a cache", **LOCAL, **HEADS, layer_types=["linear_attention", "full_attention"],
        block_size=4,
    ),
    "deepseek_v32": _refused("a DynamicIndexedLayer", **INDEXED),
    "glm_moe_dsa": _refused("a DynamicIndexedLayer", **INDEXED),
    "deepseek_v4": _refused(
        "does not generate from a cache", **ROUTED, head_dim=16, sliding_window=WINDOW
    ),
    "openai-gpt": _refused("does not generate from a cache", **GPT),
    "modernbert-decoder": _refused("turns hidden states into logits", local_attention=WINDOW),
}  # fmt: skip


def tiny(name: str, **changes: Any) -> PreTrainedModel:
    """The model, with weights large enough that what a token attends to matters."""
    torch.manual_seed(0)
    of = ARCHITECTURES[name]
    config = AutoConfig.for_model(of.model_type or name, **SIZES | of.config | changes)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.normal_(0, 0.3)
    return model
