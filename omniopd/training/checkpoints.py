"""Checkpoints: a model directory that transformers loads, with the optimiser's state. safetensors only."""

import hashlib
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from omniopd.config import Train
from omniopd.data.receipts import valid_receipt, write_receipt
from omniopd.data.store import read_json, write_dir_atomic, write_json
from omniopd.models.adapters import adapter_state, add_adapter, has_adapter, load_adapter, save_adapter
from omniopd.models.generation_config import check_generation_config
from omniopd.models.loading import load_model
from omniopd.models.precision import compute_in
from omniopd.models.sharding import divided_like, whole
from omniopd.training import parallel
from omniopd.training.optimizers import MOMENTS
from omniopd.training.trainer import Trainer

RECEIPT, OPTIMIZER = "checkpoint.json", "optimizer.safetensors"


def save_checkpoint(
    path: Path, trainer: Trainer, tokenizer: PreTrainedTokenizerBase, *, key: str, base: str = ""
) -> None:
    """Write everything that training resumes from, atomically; of an adapter, its weights and its base's name.

    The first process writes; where weights are divided among processes, all of them must call this.
    """
    model, is_adapter = trainer.model, has_adapter(trainer.model)
    state = {
        name: _on_cpu(value)
        for name, value in (adapter_state(model) if is_adapter else model.state_dict()).items()
    }
    moments = {
        f"{moment}.{name}": _on_cpu(trainer.optimizer.state[parameter][moment])
        for name, parameter in model.named_parameters()
        for moment in MOMENTS
        if moment in trainer.optimizer.state.get(parameter, ())
    }
    if parallel.rank():
        return

    def fill(folder: Path) -> None:
        if is_adapter:
            save_adapter(folder, model, state, base=base)
        else:
            model.save_pretrained(folder, state_dict=state)
        tokenizer.save_pretrained(folder)
        save_file(moments, folder / OPTIMIZER)
        write_json(folder / "trainer.json", {"num_steps": trainer.num_steps})
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        write_receipt(folder / RECEIPT, key=key, files=files, base=folder)

    write_dir_atomic(path, fill)


def _on_cpu(value: Tensor) -> Tensor:
    return whole(value).cpu().contiguous()


def weights_md5(path: Path) -> str:
    """The digest of a checkpoint's weights, from its receipt: the md5 of their file, or of the md5s of several files.

    Raises:
        DataError: the receipt cannot be read.
        KeyError: it names no weights.
    """
    files = read_json(path / RECEIPT, "files")["files"]
    digests = [
        md5 for name, md5 in sorted(files.items()) if name.endswith(".safetensors") and name != OPTIMIZER
    ]
    if not digests:
        raise KeyError(str(path))
    if len(digests) == 1:
        return digests[0]
    return hashlib.md5("".join(digests).encode(), usedforsecurity=False).hexdigest()


def load_student(base: str, path: str, settings: Train, *, seed: int) -> PreTrainedModel:
    """The student to train, with the weights of a checkpoint or of its base.

    Raises:
        ModelError: it cannot be loaded, or could not be saved.
    """
    if settings.lora is None:
        check_generation_config(base)
        # Divided weights are cast as they are gathered.
        return load_model(path, precision="float32" if settings.shard else settings.precision)
    model = load_model(base, precision=settings.precision, trained=False)
    add_adapter(model, settings.lora, seed=seed)
    if path != base:
        load_adapter(Path(path), model)
    compute_in(model, settings.precision)
    return model


def checkpoint_is_whole(path: Path, *, key: str) -> bool:
    """Whether the checkpoint exists, belongs to this run and is undamaged."""
    return valid_receipt(path / RECEIPT, key=key, base=path) is not None


def load_optimizer(path: Path, trainer: Trainer) -> None:
    """Restore the optimiser and the step of a trainer whose model was loaded from the same checkpoint."""
    trainer.num_steps = read_json(path / "trainer.json", "num_steps")["num_steps"]
    moments = load_file(path / OPTIMIZER, device=str(trainer.model.device))
    for name, parameter in trainer.model.named_parameters():
        state = {moment: moments[f"{moment}.{name}"] for moment in MOMENTS if f"{moment}.{name}" in moments}
        state = {moment: divided_like(value, parameter) for moment, value in state.items()}
        if state:
            # AdamW counts its own steps, one a round, for its bias correction.
            trainer.optimizer.state[parameter] = {"step": torch.tensor(float(trainer.num_steps)), **state}
