"""A model's generation_config.json: read for the end tokens, and saved with every checkpoint."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import GenerationConfig
from transformers.utils.hub import cached_file

from omniopd.errors import ModelError, one_line

FILE = "generation_config.json"


def generation_config(name: str) -> GenerationConfig | None:
    """The generation config of a directory or hub name, or None where it has none.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        return GenerationConfig.from_pretrained(name)
    except Exception as error:  # a damaged file can raise anything
        if isinstance(error, OSError) and not (Path(name) / FILE).exists():
            return None
        raise ModelError(
            f"{name}: {FILE} cannot be used ({one_line(error)}); fix it, or delete it"
        ) from error


def generation_ends(name: str) -> list[int]:
    """The end tokens that the generation config names; a list in Llama 3, Gemma and Qwen.

    Raises:
        ModelError: as `generation_config`.
    """
    config = generation_config(name)
    ends = config.eos_token_id if config is not None else None
    return [ends] if isinstance(ends, int) else list(ends or ())


def ending_at(name: str, stop_ids: Sequence[int], *, pad_id: int | None) -> dict[str, Any]:
    """The generation config of a directory or hub name, as JSON, whose end tokens include all of stop_ids.

    One that has another padding token keeps it.

    Raises:
        ModelError: as `generation_config`.
    """
    if generation_config(name) is None:
        settings = {}
    else:
        path = cached_file(name, FILE)
        assert path is not None, "it was just read"
        settings = json.loads(Path(path).read_text(encoding="utf-8"))
    # A config that transformers derived from config.json is derived again when it is loaded.
    settings.pop("_from_model_config", None)
    ends = settings.get("eos_token_id")
    known = [ends] if isinstance(ends, int) else list(ends or ())
    if not set(stop_ids) <= set(known):
        ends = list(stop_ids)
    padding = {} if pad_id is None else {"pad_token_id": pad_id}
    return {**padding, **settings, "eos_token_id": ends}


def check_generation_config(name: str) -> None:
    """Raise where a checkpoint of the model could not be saved: transformers rejects contradictory settings.

    Raises:
        ModelError: naming the settings.
    """
    if (config := generation_config(name)) is None:
        return
    try:
        config.validate(strict=True)
    except Exception as error:  # values of wrong types can raise anything
        raise ModelError(
            f"{name}: {FILE} cannot be saved with a checkpoint ({one_line(error)}); fix or delete "
            "these settings: generation takes its own from params.yaml"
        ) from error
