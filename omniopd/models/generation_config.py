"""A model's generation_config.json: read for the end tokens, and saved with every checkpoint."""

from pathlib import Path

from transformers import GenerationConfig

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
