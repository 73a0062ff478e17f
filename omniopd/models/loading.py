"""Loads models and tokenizers from a directory or the hub, and checks them first."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from omniopd.config import Precision
from omniopd.config.messages import TEXT_ALONE
from omniopd.errors import ModelError, one_line
from omniopd.models.adapters import adapter_state, base_state, has_adapter
from omniopd.models.chat import Chat
from omniopd.models.generation_config import generation_config, generation_ends
from omniopd.models.integrity import check_finite, check_loading, check_numbers
from omniopd.models.precision import DTYPES, compute_in
from omniopd.models.published import as_published
from omniopd.models.sharding import whole
from omniopd.models.trust import code_is_allowed

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
)
_BASE_DIGEST = "_omniopd_base_digest"
CHANGING_ROPES = ("longrope", "dynamic")
WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json")


def check_model_dir(name: str) -> None:
    """Raise where a local directory is not a model. A hub name is checked by its download.

    Raises:
        ModelError: the path does not exist, or has no config or safetensors weights.
    """
    path = Path(name)
    looks_local = path.is_absolute() or name.startswith(".") or name.count("/") != 1 or path.exists()
    if not looks_local:
        return
    if not path.is_dir():
        raise ModelError(f"{name}: no such model directory; name a directory, or a hub name (owner/name)")
    if (path / "adapter_config.json").is_file():
        raise ModelError(
            f"{name}: holds an adapter (adapter_config.json), not a whole model; merge it into its base with peft's "
            "merge_and_unload, save that, and name its directory"
        )
    if not (path / "config.json").is_file():
        raise ModelError(f"{name}: has no config.json; name a directory written by save_pretrained")
    if not any((path / file).is_file() for file in WEIGHT_FILES):
        raise ModelError(f"{name}: holds no weights (model.safetensors); save the model there first")
    for file in _weight_files(path):
        if not file.is_file():
            raise ModelError(f"{name}: {file.name} is missing; save the model there again")
        try:
            with safe_open(file, "pt") as weights:
                weights.keys()
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"{name}: {file.name} is damaged ({one_line(error)}); save the model there again"
            ) from error


def _weight_files(path: Path) -> list[Path]:
    """The weight files of a model directory: the single one, or those that the index names."""
    single, index = (path / file for file in WEIGHT_FILES)
    if single.is_file():
        return [single]
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        return [path / name for name in sorted(names)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path}: {index.name} cannot be used; save the model there again") from error


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer saved with a model.

    Raises:
        ModelError: it cannot be loaded, or has no end token.
    """
    path = Path(name)
    if path.is_dir() and not any((path / file).is_file() for file in TOKENIZER_FILES):
        raise ModelError(
            f"{name}: holds no tokenizer ({', '.join(TOKENIZER_FILES)}); save the tokenizer there first"
        )
    with _model_errors(name, "its tokenizer cannot be loaded", "save the tokenizer there again"):
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=code_is_allowed())
        tokenizer = as_published(name, tokenizer)
    if tokenizer.eos_token_id is None:
        raise ModelError(f"{name}: the tokenizer has no end token; set eos_token and save it again")
    return tokenizer


def load_chat(name: str, template_kwargs: Mapping[str, Any] | None = None) -> Chat:
    """The tokenizer saved with a model, with the settings of its chat template and the end tokens of its generation.

    Raises:
        ModelError: as `load_tokenizer`; the generation config cannot be read; or its tokens have no text each.
    """
    chat = Chat(load_tokenizer(name), template_kwargs or {}, generation_ends(name))
    chat.token_text.check(name)
    return chat


def have_same_vocabulary(student: PreTrainedTokenizerBase, teacher: PreTrainedTokenizerBase) -> bool:
    """Whether both have the same tokens with the same ids."""
    return student.get_vocab() == teacher.get_vocab()


def check_same_vocabulary(
    student: PreTrainedTokenizerBase, teacher: PreTrainedTokenizerBase, *, teacher_name: str
) -> None:
    """Raise where the teacher's distributions are not over the student's tokens.

    Raises:
        ModelError: the vocabularies differ.
    """
    if not have_same_vocabulary(student, teacher):
        ours, theirs = student.get_vocab(), teacher.get_vocab()
        num_differing = len(ours.items() ^ theirs.items())
        raise ModelError(
            f"{teacher_name}: its vocabulary is not the student's ({len(theirs)} tokens against {len(ours)}, "
            f"{num_differing} of them in one alone or with another id), so their distributions cannot be compared; "
            f"{TEXT_ALONE}"
        )


def load_model(name: str, *, precision: Precision = "float32", trained: bool = True) -> PreTrainedModel:
    """A causal language model in evaluation mode, from safetensors only, on the GPU if there is one.

    precision: dtype of matrix products, and of weights that are not `trained`; trained ones are float32.

    Raises:
        ModelError: the weights cannot be loaded.
    """
    check_model_dir(name)
    model = _loaded(name, dtype=torch.float32 if trained else DTYPES[precision])
    if torch.cuda.is_available():
        model.to(torch.device("cuda", torch.cuda.current_device()))  # pyright: ignore[reportArgumentType]
    check_finite(name, model.named_parameters())
    model.eval()
    if trained:
        compute_in(model, precision)
    return model


def load_as_saved(name: str, *, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """A causal language model on the CPU, to be saved again; in its own dtype, or in another.

    Raises:
        ModelError: the weights cannot be loaded.
    """
    check_model_dir(name)
    model = _loaded(name, dtype=dtype or "auto")
    check_finite(name, model.named_parameters())
    return model.eval()


def dtype_of(name: str) -> torch.dtype:
    """The dtype that transformers loads a model in, without reading its weights.

    Raises:
        ModelError: the weights cannot be loaded.
    """
    check_model_dir(name)
    return _loaded(name, dtype="auto", device_map="meta").dtype


def check_weights(name: str) -> None:
    """Raise where a model directory cannot be loaded, without reading weights or downloading anything.

    Raises:
        ModelError: the weights do not fit the configuration, or a required package is missing.
    """
    check_model_dir(name)
    if not Path(name).is_dir():
        return
    config = load_config(name)
    # Building a model with far too many layers may not end.
    num_layers, num_weights = getattr(config.get_text_config(), "num_hidden_layers", None), 0
    for file in _weight_files(Path(name)):
        with safe_open(file, "pt") as weights:
            num_weights += len(weights.keys())
    if isinstance(num_layers, int) and num_layers > num_weights:
        raise ModelError(
            f"{name}: config.json describes {num_layers} layers, and the files hold {num_weights} weights; restore its "
            "config.json"
        )
    try:
        _loaded(name, device_map="meta")
    except ModelError as error:
        # Without a GPU, all that can be checked of quantised weights is that their package is installed.
        if getattr(config, "quantization_config", None) is None or isinstance(error.__cause__, ImportError):
            raise


def _loaded(name: str, **options: Any) -> PreTrainedModel:
    """The model with all weights of its files.

    Raises:
        ModelError: it cannot be loaded, or its weights do not fit its configuration.
    """
    generation_config(name)  # its own message; from_pretrained reads it too
    with _model_errors(name, "the model cannot be loaded", "save the model there again"):
        model, report = cast(
            tuple[PreTrainedModel, dict[str, Any]],
            AutoModelForCausalLM.from_pretrained(
                name,
                use_safetensors=True,
                trust_remote_code=code_is_allowed(),
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # check_loading refuses them by name
                **options,
            ),
        )
    check_loading(name, model, report)
    return model


def weights_digest(model: PreTrainedModel) -> str:
    """16 hex digits of a sha256 over names, shapes and values in a fixed order.

    With an adapter, over the adapter and the digest of its frozen base. All processes that share sharded weights must
    call.
    """
    if not has_adapter(model):
        return _digest(model.state_dict(), "")
    if not hasattr(model, _BASE_DIGEST):
        setattr(model, _BASE_DIGEST, _digest(base_state(model), ""))
    return _digest(adapter_state(model), getattr(model, _BASE_DIGEST))


def _digest(state: Mapping[str, Tensor], prefix: str) -> str:
    digest = hashlib.sha256(prefix.encode())
    for name, value in sorted(state.items()):
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(whole(value).cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def load_config(name: str) -> PretrainedConfig:
    """The configuration saved with a model.

    Raises:
        ModelError: it cannot be loaded.
    """
    with _model_errors(name, "its config.json cannot be used", "save the model there again"):
        config = AutoConfig.from_pretrained(name, trust_remote_code=code_is_allowed())
    check_numbers(name, config)
    return config


def context_len(config: PretrainedConfig) -> int | None:
    """The context length in tokens, if the configuration states it.

    For rotary embeddings that change beyond a length (longrope, dynamic), that length: beyond it, cached tokens have
    the old embeddings, and a sequence's probabilities depend on the longest sequence in its batch.
    """
    text = config.get_text_config()
    context = getattr(text, "max_position_embeddings", None)
    rope = getattr(text, "rope_parameters", None) or {}
    kinds = rope.values() if rope and all(isinstance(value, Mapping) for value in rope.values()) else [rope]
    changes = [
        kind.get("original_max_position_embeddings") or context
        for kind in kinds
        if kind.get("rope_type") in CHANGING_ROPES
    ]
    return min([length for length in (context, *changes) if length is not None], default=None)


@contextmanager
def _model_errors(name: str, what: str, remedy: str) -> Iterator[None]:
    """For the block, turn any error, since a damaged file can raise anything, into a ModelError with the remedy."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise ModelError(
            f"{name}: {what}: it does not fit into memory ({one_line(error)}); free some, or take a smaller model"
        ) from error
    except Exception as error:
        if not code_is_allowed() and "trust_remote_code" in str(error):
            raise ModelError(
                f"{name}: needs Python code that comes with it, and none is run; read that code, then set "
                "models.trust_remote_code: true, or take another model"
            ) from error
        if isinstance(error, ImportError):
            remedy = (
                "install that package, or take a model that does without, such as one that is not quantised"
            )
        raise ModelError(f"{name}: {what} ({one_line(error)}); {remedy}") from error
