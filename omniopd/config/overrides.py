"""Settings that one run has otherwise than params.yaml: given on the command line, or in the form of a deployment."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import MaxDepthExceededError
from ruamel.yaml.error import YAMLError

from omniopd.data.receipts import work_key
from omniopd.errors import ConfigError

MAX_DEPTH = 50  # of blocks within blocks
SHOWN = 60  # characters of a setting in a message
WIDEST = 2**63  # of numbers, which databases and libraries hold in 64 bits
# What the parser's constructors raise for a value that its tag does not fit: `!!bool maybe`, 2001-99-99.
MISFITS = (ValueError, TypeError, LookupError, OverflowError)
# What `prepare` and `base` made is shared by all runs of a seed, so no single run may have it otherwise.
SHARED_INPUTS = ("seeds", "prompts", "models", "teacher.kind", "teacher.model")


def parsed(texts: Iterable[str]) -> dict[str, Any]:
    """`path=value` texts as overrides; a value is read as params.yaml reads it.

    >>> parsed(["train.num_rounds=5", "train.schedule=constant"])
    {'train.num_rounds': 5, 'train.schedule': 'constant'}

    Raises:
        ConfigError: a text of another form.
    """
    found = {}
    for text in texts:
        path, sign, value = text.partition("=")
        try:
            found[path.strip()] = read_yaml(value, f"--set {text[:SHOWN]}")
        except YAMLError as error:
            raise ConfigError(f"--set {text}: the value is not YAML; write path=value") from error
        if not sign or not path.strip():
            raise ConfigError(f"--set {text}: is not path=value; write it as in --set train.num_rounds=5")
    return found


def overridden(raw: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with the overrides in their place; a name with dots is a path, a block is merged into the block.

    Raises:
        ConfigError: an override of what all runs of a seed share, or one that is nested too deep.
    """
    for path, value in overrides.items():
        check_values(value, f"overrides: {path[:SHOWN]}", level=path.count("."))
    own = nested(overrides)
    for path in SHARED_INPUTS:
        if _holds(own, path.split(".")):
            raise ConfigError(
                f"overrides: {path}: decides what all runs of a seed share (data/ and models/); "
                "change it in params.yaml, or in a copy of the folder"
            )
    return merged(raw, own)


def read_yaml(text: str, place: str) -> Any:
    """The value of a text in YAML 1.2, by the parser that DVC reads params.yaml with: 2e-4 is a number.

    Args:
        text: What is read.
        place: Where it stands, to begin the message.

    Raises:
        ConfigError: it nests too deep; reading ends there, for the parser takes quadratic time.
        YAMLError: it is not YAML, holds a key twice, or a value that is none of its type.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.max_depth = (
        MAX_DEPTH + 2
    )  # the whole is at level 0 and counted as 1; a value in the last block is one more
    try:
        return yaml.load(text)
    except MaxDepthExceededError as error:
        raise ConfigError(too_deep(place)) from error
    except MISFITS as error:
        raise YAMLError(f"a value is none of its type ({error})") from error


def check_values(value: Any, place: str, *, level: int = 0) -> None:
    """Raise where settings nest to more than MAX_DEPTH levels, as in a cycle, or hold what no file name takes.

    Args:
        value: What is set.
        place: Where, to begin the message.
        level: At which depth it is set.

    Raises:
        ConfigError: they do.
    """
    layer = [value]
    while layer:
        if level > MAX_DEPTH:
            raise ConfigError(too_deep(place))
        # What YAML names by an alias stands at several places, and is inspected once a level.
        inner = [item for block in layer for item in _items(block)]
        for item in inner:
            _check_scalar(item, place)
        layer = list({id(item): item for item in inner if isinstance(item, Mapping | list)}.values())
        level += 1


def _check_scalar(value: Any, place: str) -> None:
    if isinstance(value, int) and abs(value) >= WIDEST:
        raise ConfigError(f"{place}: a number of {value.bit_length()} bits; settings have 63 at most")
    if isinstance(value, str) and ("\0" in value or any(map(_is_surrogate, value))):
        raise ConfigError(f"{place}: {value[:SHOWN]!r} holds a NUL or half of a surrogate pair; take it out")


def _is_surrogate(character: str) -> bool:
    return "\ud800" <= character <= "\udfff"


def too_deep(place: str) -> str:
    """The sentence for settings that nest too deep."""
    return f"{place}: settings nest in more than {MAX_DEPTH} levels; write them flatter"


def _items(block: Any) -> Iterable[Any]:
    return block.values() if isinstance(block, Mapping) else block if isinstance(block, list) else ()


def nested(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides as blocks within blocks.

    >>> nested({"train.lr": 0.1, "train": {"num_rounds": 5}})
    {'train': {'lr': 0.1, 'num_rounds': 5}}
    """
    blocks: dict[str, Any] = {}
    for path, value in overrides.items():
        block = value
        for name in reversed(path.split(".")):
            block = {name: block}
        blocks = merged(blocks, block)
    return blocks


def variant_of(overrides: Mapping[str, Any]) -> str:
    """What stands behind the name of a run with these overrides; nothing where there are none."""
    return f".with-{work_key(nested(overrides))[:8]}" if overrides else ""


def merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    both = {
        name: merged(base[name], value)
        for name, value in own.items()
        if isinstance(value, Mapping) and isinstance(base.get(name), Mapping)
    }
    return {**base, **own, **both}


def _holds(block: Any, path: Sequence[str]) -> bool:
    for name in path:
        if not isinstance(block, Mapping) or name not in block:
            return False
        block = block[name]
    return True
