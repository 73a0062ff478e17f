"""Packaged settings for real pairs of models, which a params.yaml takes by name and overrides."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from omniopd.config.messages import nearest
from omniopd.config.overrides import merged, read_yaml
from omniopd.errors import ConfigError

FOLDER = files("omniopd") / "recipes"
WHOLE = ("arms", "ablations")  # lists of runs: given, they replace the recipe's


def recipe_names() -> list[str]:
    """The names of the packaged recipes."""
    names = (file.name for file in FOLDER.iterdir())
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


def with_recipe(raw: Mapping[str, Any], place: str) -> dict[str, Any]:
    """The settings of the recipe that `recipe` names, with the others of the file in their place.

    Raises:
        ConfigError: there is no such recipe.
    """
    settings = {name: value for name, value in raw.items() if name != "recipe"}
    if "recipe" not in raw:
        return settings
    name, known = raw["recipe"], recipe_names()
    if name not in known:
        hint = nearest(str(name), dict.fromkeys(known))
        raise ConfigError(
            f"{place}: recipe: {name!r} is no packaged recipe{hint}; there are {', '.join(known)}"
        )
    recipe = read_yaml((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"), f"recipe {name}")
    kept = {name: value for name, value in recipe.items() if name not in WHOLE or name not in settings}
    return merged(kept, settings)
