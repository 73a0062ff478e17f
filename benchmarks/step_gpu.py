"""A white-box OPD step on a GPU at the size that users train: a randomly initialised Qwen3-1.7B and a teacher like it.

Products are in bfloat16: over float32 masters in ours, of weights that are bfloat16 themselves in TRL's, whose training
forward would take float32 ones in float32. A model that knows nothing writes tokens at random, and ends in almost no
response before its full length; so a step's work is known beforehand.
"""

import copy
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedModel, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from benchmarks.figure import Figure, in_turns
from benchmarks.step import PARAMS, Ours, Trl
from omniopd.config import load_params
from omniopd.models.precision import compute_in

NUM_PROMPTS, PROMPT_LEN, RESPONSE_LEN, ROUNDS = 32, 64, 128, 3
QWEN3 = Qwen3Config(
    vocab_size=151_936, hidden_size=2048, intermediate_size=6144, num_hidden_layers=28, num_attention_heads=16,
    num_key_value_heads=8, head_dim=128, tie_word_embeddings=True, max_position_embeddings=40_960,
    rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0}, eos_token_id=0,
    pad_token_id=0, bos_token_id=None,
)  # fmt: skip


def figures(config: Qwen3Config = QWEN3, num: int = NUM_PROMPTS, rounds: int = ROUNDS) -> list[Figure]:
    """Sequences and tokens a second of a step, of its parts, and of twice as many sequences."""
    params = load_params(PARAMS)
    params = params.model_copy(
        update={
            "train": params.train.model_copy(update={"precision": "bfloat16", "batch_size": num}),
            "rollout": params.rollout.model_copy(update={"batch_size": 2 * num}),
        }
    )
    tokenizer = _tokenizer(config)
    student, teacher = _model(config, 0), _model(config, 1).bfloat16().requires_grad_(False)
    compute_in(student, "bfloat16")
    prompts = [
        " ".join(f"w{(7919 * i + 31 * k) % 50_000}" for k in range(PROMPT_LEN)) for i in range(1, 2 * num + 1)
    ]
    ours = Ours(params, student, teacher, tokenizer, prompts[:num], RESPONSE_LEN)
    twice = Ours(params, student, teacher, tokenizer, prompts, RESPONSE_LEN, ours.trainer)
    with tempfile.TemporaryDirectory() as folder:
        theirs = Trl(
            _model(config, 0).bfloat16(),
            copy.deepcopy(teacher),
            tokenizer,
            prompts[:num],
            Path(folder),
            RESPONSE_LEN,
        )
        works: dict[str, Callable[[], int]] = {
            "white-box": ours.white_box, "trl": theirs.step, "generate": ours.generate, "score": ours.score,
            "train": ours.train, "bodies": ours.bodies, "train twice": twice.train,
        }  # fmt: skip
        works = {name: _finished(work) for name, work in works.items()}
        generating: list[float] = []

        def trl_generating() -> int:
            count = works["trl"]()
            generating.append(theirs.generating_s)
            return count

        rates = in_turns({**works, "trl": trl_generating}, rounds=rounds)
    unit, length = "sequences/s", PROMPT_LEN + RESPONSE_LEN
    trl_generating_s = statistics.median(generating[1:])
    trl_rest = num / (num / rates["trl"] - trl_generating_s)
    comparison = "TRL's DistillationTrainer"
    return [
        Figure("Qwen3-1.7B, an OPD step: generate and train", unit, rates["white-box"], comparison, rates["trl"]),
        Figure("its training", unit, rates["train"], "TRL's step but for its generation", trl_rest),
        Figure(
            "its rollouts", "tokens/s", RESPONSE_LEN * rates["generate"],
            "TRL's generation", RESPONSE_LEN * num / trl_generating_s,
        ),
        Figure(
            "its training", "tokens/s", length * rates["train"],
            "the models' own passes, without a loss", length * rates["bodies"],
        ),
        Figure("scores of the trainer's forward pass", "tokens/s", length * rates["score"]),
        Figure(f"training on {2 * num} sequences", unit, rates["train twice"], f"on {num}", rates["train"]),
        Figure("peak of it all, TRL's models included", "MiB", torch.cuda.max_memory_allocated() / 2**20),
    ]  # fmt: skip


def _finished(work: Callable[[], int]) -> Callable[[], int]:
    def waited() -> int:
        count = work()
        torch.cuda.synchronize()
        return count

    return waited


def _model(config: Qwen3Config, seed: int) -> PreTrainedModel:
    torch.manual_seed(seed)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        return Qwen3ForCausalLM(config).eval()


def _tokenizer(config: Qwen3Config) -> PreTrainedTokenizerFast:
    """A word a token, the first of them the end."""
    words = {"<end>": 0, **{f"w{i}": i for i in range(1, config.vocab_size)}}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<end>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>")
