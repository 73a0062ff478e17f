"""Models that read and write plain text, a token a character, small enough to be made for a test."""

import string
from pathlib import Path

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from omniopd.training.pretrain import character_tokenizer, save_model

CHATML = (
    "{% for message in messages %}[{{ message['role'] }}]{{ message['content'] }}<end>{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def text_tokenizer():
    """A token for each printable character of ASCII."""
    return character_tokenizer(string.printable)


def save_text_model(
    path: Path, *, seed: int = 0, context: int = 4096, chat_template: str | None = CHATML, head_dim: int = 8,
    init_std: float = 0.02,
) -> Path:  # fmt: skip
    """An untrained model of two thousand parameters that writes printable characters without sense."""
    tokenizer = text_tokenizer()
    tokenizer.chat_template = chat_template
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, head_dim=head_dim, max_position_embeddings=context, tie_word_embeddings=True,
        initializer_range=init_std,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    save_model(path, Qwen3ForCausalLM(config), tokenizer)
    return path
