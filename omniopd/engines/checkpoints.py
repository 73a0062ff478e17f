"""Checkpoints: a model directory that transformers loads, and the optimiser beside it. safetensors only."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerBase

from omniopd.data.receipts import valid_receipt, write_receipt
from omniopd.data.store import read_json, write_dir_atomic, write_json
from omniopd.engines.trainer import Trainer

RECEIPT = "checkpoint.json"
_MOMENTS = ("exp_avg", "exp_avg_sq")


def save_checkpoint(path: Path, trainer: Trainer, tokenizer: PreTrainedTokenizerBase, *, key: str) -> None:
    """Write everything that training goes on from, whole or not at all."""

    def fill(folder: Path) -> None:
        trainer.model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        moments = {
            f"{moment}.{name}": trainer.optimizer.state[parameter][moment]
            for name, parameter in trainer.model.named_parameters()
            for moment in _MOMENTS
            if parameter in trainer.optimizer.state
        }
        save_file(moments, folder / "optimizer.safetensors")
        write_json(folder / "trainer.json", {"num_steps": trainer.num_steps})
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        write_receipt(folder / RECEIPT, key=key, files=files, base=folder)

    write_dir_atomic(path, fill)


def checkpoint_is_whole(path: Path, *, key: str) -> bool:
    """Whether a checkpoint of this run lies there, with every byte that was written."""
    return valid_receipt(path / RECEIPT, key=key, base=path) is not None


def load_optimizer(path: Path, trainer: Trainer) -> None:
    """Give a trainer, whose model was loaded from the same checkpoint, its optimiser and position back."""
    trainer.num_steps = read_json(path / "trainer.json")["num_steps"]
    moments = load_file(path / "optimizer.safetensors", device=str(trainer.model.device))
    for name, parameter in trainer.model.named_parameters():
        state = {moment: moments[f"{moment}.{name}"] for moment in _MOMENTS if f"{moment}.{name}" in moments}
        if state:
            # AdamW counts its own steps, one a round, for its bias correction.
            trainer.optimizer.state[parameter] = {"step": torch.tensor(float(trainer.num_steps)), **state}
