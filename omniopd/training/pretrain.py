"""The demo's models: Qwen3 in miniature, trained here on worked solutions."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from omniopd.config import DEMO_CONTEXT, DemoModel
from omniopd.data.rows import Row, collate
from omniopd.data.store import write_dir_atomic
from omniopd.models.chat import Chat

# With the library's defaults (rotary base 10,000, 0.02) neither model learns the task in so few steps; the
# distances here are short (docs/experiments.md).
ROPE_THETA = 30.0
INIT_STD = 0.03
WEIGHT_DECAY = 0.1


def character_tokenizer(alphabet: str) -> PreTrainedTokenizerFast:
    """A tokenizer of single characters, with tokens for padding, end, start and unknown."""
    special = ["<pad>", "<end>", "<start>", "<unk>"]
    vocabulary = {token: i for i, token in enumerate([*alphabet, *special])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<end>",
        bos_token="<start>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
    )


def train_demo_model(
    examples: Sequence[tuple[str, str]],
    tokenizer: PreTrainedTokenizerFast,
    settings: DemoModel,
    *,
    seed: int,
    on_step: Callable[[int], None],
    context: int = DEMO_CONTEXT,
) -> Qwen3ForCausalLM:
    """A model trained on (prompt, solution) pairs, in shuffled epochs, with AdamW and a cosine schedule.

    Prompts are final text, with the chat template applied. `context` is the model's maximum length in tokens. on_step
    is called with the number of completed steps.
    """
    torch.manual_seed(seed)
    model = Qwen3ForCausalLM(demo_config(tokenizer, settings, context))
    rows = _rows(tokenizer, examples)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=WEIGHT_DECAY, foreach=True)
    generator = torch.Generator().manual_seed(seed)
    order: list[int] = []
    for step in range(settings.num_steps):
        if len(order) < settings.batch_size:
            order += torch.randperm(len(rows), generator=generator).tolist()
        chosen, order = order[: settings.batch_size], order[settings.batch_size :]
        batch = collate([rows[i] for i in chosen], pad_id=0)
        logits = model(input_ids=batch.input_ids, use_cache=False).logits
        loss = cross_entropy(logits.flatten(0, 1)[batch.index], batch.token_ids)
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * _cosine(step, settings.num_steps)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        on_step(step + 1)
    return model.eval()


def save_model(path: Path, model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """Save the model and its tokenizer for transformers, atomically."""

    def fill(folder: Path) -> None:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    write_dir_atomic(path, fill)


def _rows(tokenizer: PreTrainedTokenizerFast, examples: Sequence[tuple[str, str]]) -> list[Row]:
    prompts, solutions = (list(texts) for texts in zip(*examples, strict=True))
    prompt_ids: list[list[int]] = tokenizer(prompts)["input_ids"]  # pyright: ignore[reportAssignmentType]
    solution_ids: list[list[int]] = tokenizer(solutions)["input_ids"]  # pyright: ignore[reportAssignmentType]
    end_id = Chat(tokenizer).end_id
    return [
        Row(prompt, prompt_tokens, [*solution_tokens, end_id])
        for prompt, prompt_tokens, solution_tokens in zip(prompts, prompt_ids, solution_ids, strict=True)
    ]


def demo_config(
    tokenizer: PreTrainedTokenizerFast, settings: DemoModel, context: int = DEMO_CONTEXT
) -> Qwen3Config:
    """The configuration of a demo model."""
    return Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=settings.width,
        intermediate_size=settings.ffn_width,
        num_hidden_layers=settings.num_layers,
        num_attention_heads=settings.num_heads,
        num_key_value_heads=settings.num_heads,
        head_dim=settings.width // settings.num_heads,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        initializer_range=INIT_STD,
        pad_token_id=tokenizer.get_vocab()["<pad>"],
        bos_token_id=tokenizer.get_vocab()["<start>"],
        eos_token_id=Chat(tokenizer).end_id,
    )


def _cosine(step: int, num_steps: int) -> float:
    """Ten steps of warm-up, then half a cosine to zero."""
    warmup = min(10, num_steps)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, num_steps - warmup)))
