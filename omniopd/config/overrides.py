"""Settings of other origin than params.yaml: packaged recipes, and the overrides of one run."""

import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import MaxDepthExceededError
from ruamel.yaml.error import YAMLError

from omniopd.config.messages import nearest
from omniopd.data.receipts import work_key
from omniopd.errors import ConfigError

MAX_DEPTH = 50  # of blocks within blocks
SHOWN = 60  # characters of a setting in a message
WIDEST = 2**63  # numbers must fit in 64 bits, for databases and libraries
UNUSABLE = re.compile("[\0\ud800-\udfff]")  # in a file name: NUL and halves of surrogate pairs
# Raised by the constructors of the parser for a value that does not fit its tag: `!!bool maybe`, 2001-99-99.
MISFITS = (ValueError, TypeError, LookupError, OverflowError)
# The prompts and models of a seed are shared by all its runs, so no single run may override what they are made of.
SHARED_INPUTS = ("seeds", "prompts", "models", "teacher.kind", "teacher.model")
RECIPES = files("omniopd") / "recipes"
RUN_LISTS = ("arms", "ablations")  # replace those of a recipe rather than being merged into them


def with_recipe(raw: Mapping[str, Any], place: str) -> dict[str, Any]:
    """The settings of the packaged recipe that `recipe` names, overridden by the others of the file.

    Raises:
        ConfigError: there is no such recipe.
    """
    settings = {name: value for name, value in raw.items() if name != "recipe"}
    if "recipe" not in raw:
        return settings
    recipe = recipe_settings(raw["recipe"], place)
    kept = {name: value for name, value in recipe.items() if name not in RUN_LISTS or name not in settings}
    return merged(kept, settings)


def recipe_settings(name: Any, place: str) -> dict[str, Any]:
    """The settings of a packaged recipe; `place` begins the message of an error.

    Raises:
        ConfigError: there is no such recipe.
    """
    known = sorted(
        file.name.removesuffix(".yaml") for file in RECIPES.iterdir() if file.name.endswith(".yaml")
    )
    if name not in known:
        hint = nearest(str(name), known)
        raise ConfigError(
            f"{place}: recipe: {name!r} is not a packaged recipe{hint}; there are {', '.join(known)}"
        )
    return read_yaml((RECIPES / f"{name}.yaml").read_text(encoding="utf-8"), f"recipe {name}")


def parsed(texts: Iterable[str]) -> dict[str, Any]:
    """`path=value` texts as overrides; values are read as in params.yaml.

    >>> parsed(["train.num_rounds=5", "train.schedule=constant"])
    {'train.num_rounds': 5, 'train.schedule': 'constant'}

    Raises:
        ConfigError: a text of another form.
    """
    overrides = {}
    for text in texts:
        path, sign, value = text.partition("=")
        try:
            overrides[path.strip()] = read_yaml(value, f"--set {text[:SHOWN]}")
        except YAMLError as error:
            raise ConfigError(f"--set {text}: the value is not YAML; write path=value") from error
        if not sign or not path.strip():
            raise ConfigError(f"--set {text}: is not path=value; write it as in --set train.num_rounds=5")
    return overrides


def overridden(raw: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with the overrides applied; a name with dots is a path, and a block is merged into the block.

    Raises:
        ConfigError: an override of a setting that all runs of a seed share, or one that is nested too deep.
    """
    for path, value in overrides.items():
        check_values(value, f"overrides: {path[:SHOWN]}", level=path.count("."))
    blocks = nested(overrides)
    for path in SHARED_INPUTS:
        if _has_path(blocks, path.split(".")):
            raise ConfigError(
                f"overrides: {path}: all runs of a seed share its data/ and models/; change it in params.yaml, or in "
                "a copy of the folder"
            )
    return merged(raw, blocks)


def read_yaml(text: str, place: str) -> Any:
    """The value of a text in YAML 1.2, by the parser that DVC reads params.yaml with: 2e-4 is a number.

    `place` begins the messages.

    Raises:
        ConfigError: it nests too deep; reading stops there, as the parser takes quadratic time.
        YAMLError: it is not YAML, has a key twice, or a value that does not fit its tag.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.max_depth = MAX_DEPTH + 2  # counts the whole as 1, and a value in the last block as one more
    try:
        return yaml.load(text)
    except MaxDepthExceededError as error:
        raise _too_deep(place) from error
    except MISFITS as error:
        raise YAMLError(f"a value does not fit its type ({error})") from error


def check_values(value: Any, place: str, *, level: int = 0) -> None:
    """Check settings that are set at a depth of `level`; `place` begins the messages.

    Raises:
        ConfigError: they nest deeper than MAX_DEPTH, as in a cycle, or contain a number or character that databases
            or file names cannot hold.
    """
    layer = [value]
    while layer:
        if level > MAX_DEPTH:
            raise _too_deep(place)
        inner: list[Any] = []
        for block in layer:
            inner += (
                block.values() if isinstance(block, Mapping) else block if isinstance(block, list) else ()
            )
        for item in inner:
            _check_scalar(item, place)
        # A value that YAML aliases is in several places, and is checked once a level.
        layer = list({id(item): item for item in inner if isinstance(item, Mapping | list)}.values())
        level += 1


def _check_scalar(value: Any, place: str) -> None:
    if isinstance(value, int) and abs(value) >= WIDEST:
        raise ConfigError(f"{place}: a number of {value.bit_length()} bits; settings have 63 at most")
    if isinstance(value, str) and UNUSABLE.search(value):
        raise ConfigError(f"{place}: {value[:SHOWN]!r} holds a NUL or half of a surrogate pair; take it out")


def _too_deep(place: str) -> ConfigError:
    return ConfigError(f"{place}: settings nest in more than {MAX_DEPTH} levels; write them flatter")


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
    """The suffix of the name of a run with these overrides; empty without any."""
    return f".with-{work_key(nested(overrides))[:8]}" if overrides else ""


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The base with the changes in place; blocks that both have are merged."""
    both = {
        name: merged(base[name], value)
        for name, value in changes.items()
        if isinstance(value, Mapping) and isinstance(base.get(name), Mapping)
    }
    return {**base, **changes, **both}


def _has_path(block: Any, path: Sequence[str]) -> bool:
    for name in path:
        if not isinstance(block, Mapping) or name not in block:
            return False
        block = block[name]
    return True
