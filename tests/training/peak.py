"""Peak memory of training steps of a random Qwen3, measured in a process of its overrides, beside the estimate: JSON.

python peak.py METHOD WIDTH LAYERS VOCABULARY LENGTH SETTINGS BATCH_SIZExNUM_BATCHES...; SETTINGS are those of `train`
that differ from the repository's, in JSON.
"""

import json
import random
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, Qwen3Config

from omniopd.config import Train, load_params
from omniopd.data.rows import Row
from omniopd.methods import OPD, SFT, OmniOPD
from omniopd.models.precision import DTYPES, compute_in
from omniopd.training.memory import StepShape, size_of, training_memory
from omniopd.training.trainer import Trainer

RESPONSE_LEN = 192
METHODS = {"sft": SFT(), "omniopd": OmniOPD(), "opd": OPD()}
PARAMS = Path(__file__).parents[2] / "params.yaml"


def config_of(width: int, num_layers: int, vocab_size: int) -> Qwen3Config:
    """A Qwen3 of the shape that the family has."""
    return Qwen3Config(
        vocab_size=vocab_size, hidden_size=width, intermediate_size=3 * width, num_hidden_layers=num_layers,
        num_attention_heads=width // 64, num_key_value_heads=width // 128, head_dim=64, tie_word_embeddings=True,
    )  # fmt: skip


def settings_of(**overrides: Any) -> Train:
    """The repository's, but for these."""
    return load_params(PARAMS).train.model_copy(update=overrides)


def rows_of(count: int, length: int, vocab_size: int) -> list[Row]:
    """Rows of random tokens, half of whose response is audited."""
    rng = random.Random(0)
    columns = {"weight": [0.5] * RESPONSE_LEN, "audited": [t % 2 == 0 for t in range(RESPONSE_LEN)]}
    rows = []
    for i in range(count):
        ids = [rng.randrange(vocab_size) for _ in range(length)]
        rows.append(Row(f"r{i}", ids[:-RESPONSE_LEN], ids[-RESPONSE_LEN:], columns))
    return rows


def _status(field: str) -> int:
    """Bytes of that line of the process's status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    [line] = [line for line in lines if line.startswith(f"{field}:")]
    return int(line.split()[1]) * 1024


def _model(config: Qwen3Config, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    return AutoModelForCausalLM.from_config(config, dtype=dtype).eval()


def main() -> None:
    """Measure each batch size in turn."""
    name, width, num_layers, vocab_size, length = sys.argv[1], *map(int, sys.argv[2:6])
    overrides, cases = json.loads(sys.argv[6]), [tuple(map(int, case.split("x"))) for case in sys.argv[7:]]
    method, config, settings = (
        METHODS[name],
        config_of(width, num_layers, vocab_size),
        settings_of(**overrides),
    )
    needs = {"reference": "reference", "teacher": "teacher_logits"}
    roles = [role for role, need in needs.items() if need in method.needs]
    compute_bytes = DTYPES[settings.precision].itemsize
    size = size_of(config, compute_bytes=compute_bytes)
    torch.set_num_threads(1)
    before = _status("VmRSS")
    model = _model(config)
    compute_in(model, settings.precision)
    frozen = {role: _model(config, DTYPES[settings.precision]).requires_grad_(False) for role in roles}
    steps = []
    for batch_size, num_batches in cases:
        trainer = Trainer(model, settings.model_copy(update={"batch_size": batch_size}), **frozen)
        rows = rows_of(batch_size * num_batches, length, vocab_size)
        trainer.step(rows, method)  # makes the optimiser's moments
        Path("/proc/self/clear_refs").write_text("5")  # the peak from here on
        trainer.step(rows, method)
        shape = StepShape(
            num_sequences=batch_size, seq_len=length, response_len=RESPONSE_LEN,
            scores=method.scores | {"entropy"}, frozen_parameters=[size.num_parameters] * len(roles),
            compute_bytes=compute_bytes, gradient_checkpointing=settings.gradient_checkpointing,
            accumulates=num_batches > 1,
        )  # fmt: skip
        estimate = training_memory(size, shape)
        steps.append({"measured": _status("VmHWM") - before, **vars(estimate)})
        del trainer
    print(json.dumps({"num_parameters": size.num_parameters, "steps": steps}))


if __name__ == "__main__":
    main()
