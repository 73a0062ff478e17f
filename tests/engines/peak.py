"""Peak memory of training steps of a random Qwen3, measured in a process of its own, beside the estimate: JSON.

python peak.py METHOD WIDTH LAYERS VOCABULARY LENGTH BATCH_SIZExNUM_BATCHES...
"""

import json
import random
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, Qwen3Config

from omniopd.config import Train, load_params
from omniopd.data.rows import Row
from omniopd.engines.memory import size_of, training_memory
from omniopd.engines.trainer import Trainer
from omniopd.methods import OPD, SFT, OmniOPD

RESPONSE_LEN = 192
METHODS = {"sft": SFT(), "omniopd": OmniOPD(), "opd": OPD()}
PARAMS = Path(__file__).parents[2] / "params.yaml"


def config_of(width: int, num_layers: int, vocab_size: int) -> Qwen3Config:
    """A Qwen3 of the shape that the family has."""
    return Qwen3Config(
        vocab_size=vocab_size, hidden_size=width, intermediate_size=3 * width, num_hidden_layers=num_layers,
        num_attention_heads=width // 64, num_key_value_heads=width // 128, head_dim=64, tie_word_embeddings=True,
    )  # fmt: skip


def settings_of(batch_size: int) -> Train:
    """The repository's, with that batch size."""
    return load_params(PARAMS).train.model_copy(update={"batch_size": batch_size})


def rows_of(count: int, length: int, vocab_size: int) -> list[Row]:
    """Rows of random tokens, half of whose response is audited."""
    rng = random.Random(0)
    columns = {"weight": [0.5] * RESPONSE_LEN, "audited": [t % 2 == 0 for t in range(RESPONSE_LEN)]}
    found = []
    for i in range(count):
        ids = [rng.randrange(vocab_size) for _ in range(length)]
        found.append(Row(f"r{i}", ids[:-RESPONSE_LEN], ids[-RESPONSE_LEN:], columns))
    return found


def _status(field: str) -> int:
    """Bytes of that line of the process's status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    [line] = [line for line in lines if line.startswith(f"{field}:")]
    return int(line.split()[1]) * 1024


def _model(config: Qwen3Config) -> PreTrainedModel:
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def main() -> None:
    """Measure each batch size in turn."""
    name, width, num_layers, vocab_size, length = sys.argv[1], *map(int, sys.argv[2:6])
    cases = [tuple(map(int, case.split("x"))) for case in sys.argv[6:]]
    method, config = METHODS[name], config_of(width, num_layers, vocab_size)
    roles = {"reference": "reference", "teacher": "teacher_logits"}
    size, num_frozen = size_of(config), sum(need in method.needs for need in roles.values())
    torch.set_num_threads(1)
    before = _status("VmRSS")
    model = _model(config)
    frozen = {
        role: _model(config).requires_grad_(False) for role, need in roles.items() if need in method.needs
    }
    found = []
    for batch_size, num_batches in cases:
        trainer = Trainer(model, settings_of(batch_size), **frozen)
        rows = rows_of(batch_size * num_batches, length, vocab_size)
        trainer.step(rows, method)  # makes the optimiser's moments
        Path("/proc/self/clear_refs").write_text("5")  # the peak from here on
        trainer.step(rows, method)
        estimate = training_memory(
            size, num_sequences=batch_size, seq_len=length, response_len=RESPONSE_LEN,
            scores=method.scores | {"entropy"}, frozen=[size.num_parameters] * num_frozen,
            accumulates=num_batches > 1,
        )  # fmt: skip
        found.append({"measured": _status("VmHWM") - before, **vars(estimate)})
        del trainer
    print(json.dumps({"num_parameters": size.num_parameters, "steps": found}))


if __name__ == "__main__":
    main()
