"""Short recorded runs: five float32 steps of a tiny model by every method, their losses and gradient norms.

`make golden` records them anew. A change of numbers that was meant belongs in the changelog.
"""

import json
from pathlib import Path

from examples import METHODS, annotated, scaled, tiny_model

from omniopd.config import Train
from omniopd.methods import Method
from omniopd.models.threads import use_threads
from omniopd.training.pretrain import character_tokenizer
from omniopd.training.trainer import Trainer

FOLDER = Path(__file__).parent / "golden"
SETTINGS = Train(
    num_rounds=5, lr=1e-2, warmup_rounds=2, max_grad_norm=1.0, weight_decay=0.01, schedule="cosine",
    steps_per_round=1, batch_size=3, batch_tokens=None, packing=False,
    precision="float32", gradient_checkpointing=False, lora=None, shard=False, checkpoint_every=5, validate_every=5,
)  # fmt: skip
RUNS = {f"{type(method).__name__.lower()}-{i}": method for i, method in enumerate(METHODS)}


def run(method: Method) -> list[dict[str, float]]:
    """Loss and gradient norm before each of five steps."""
    use_threads(1)
    model = tiny_model(character_tokenizer("0123456789+=;>"))
    reference, teacher = (scaled(model, factor).float() for factor in (1.1, 0.8))
    trainer = Trainer(model, SETTINGS, reference=reference, teacher=teacher)
    rows = method.rows(annotated(method))
    reports = [trainer.round(rows, method) for _ in range(SETTINGS.num_rounds)]
    return [{"loss": report["loss"], "grad_norm": report["grad_norm"]} for report in reports]


def record() -> None:
    """Write every run below tests/golden, and nothing else there."""
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.glob("*.json"):
        path.unlink()
    for name, method in RUNS.items():
        content = {"settings": method.determining(), "steps": run(method)}
        (FOLDER / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    record()
