"""The weights, tokenizer and generation settings of a checkpoint, as transformers and peft load them."""

from pathlib import Path

from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from omniopd.data.store import read_json, write_json
from omniopd.models.adapters import copy_adapter, merge_adapter
from omniopd.models.generation_config import FILE, ending_at
from omniopd.models.loading import dtype_of, load_as_saved
from omniopd.rounds.run import Run

OF_LOADING = ("is_local", "local_files_only")  # how this machine loaded a tokenizer; transformers saves it


def write_model(folder: Path, run: Run, checkpoint: Path, *, merge: bool, base: str) -> None:
    """Write the student of a checkpoint into a folder, in the dtype of the original model.

    An adapter is written as it is, in float32, with the name `base` of its base; or merged into it. The generation
    settings are the original model's, with the tokens at which the run's responses ended.

    Raises:
        ModelError: the original model cannot be loaded, or the adapter cannot be merged.
    """
    original, is_adapter = run.model_path("student"), run.config.train.lora is not None
    if is_adapter and not merge:
        copy_adapter(checkpoint, folder, base=base)
    elif is_adapter:
        _save(folder, merge_adapter(checkpoint, load_as_saved(original)))
    else:
        _save(folder, load_as_saved(str(checkpoint), dtype=dtype_of(original)))
    chat = run.models.chat
    _save_tokenizer(folder, chat.tokenizer)
    pad_id = chat.tokenizer.pad_token_id
    ending = ending_at(original, chat.stop_ids, pad_id=pad_id if isinstance(pad_id, int) else None)
    write_json(folder / FILE, ending)


def _save(folder: Path, model: PreTrainedModel) -> None:
    model.generation_config = GenerationConfig()  # its own is written after; transformers refuses some
    model.save_pretrained(folder)


def _save_tokenizer(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    settings = read_json(path)
    write_json(path, {name: value for name, value in settings.items() if name not in OF_LOADING})
