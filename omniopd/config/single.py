"""The settings of one run as the params.yaml of that run alone, and those of them that differ from the defaults."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from io import StringIO
from typing import Any

from ruamel.yaml import YAML

from omniopd.config.schema.evaluation import Benchmarks
from omniopd.config.schema.params import Params, RunConfig

Settings = dict[str, Any]
# Settings that may be a path relative to the folder of params.yaml.
PATHS = (
    ("prompts", "source"),
    ("models", "student"),
    ("teacher", "model"),
    ("teacher", "cache"),
    ("method", "embedding_model"),
)
# Settings that only the machine of the run needs: addresses, files, and where it is logged.
OF_MACHINE = (("teacher", "base_url"), ("teacher", "cache"), ("teacher", "offline"), ("compute", "dask"))
# Blocks of a RunConfig that decide no result, and the fields that are no settings.
UNDECIDING = ("tracking", "alarms")
IDENTITY = ("arm", "seed", "method_name")


def single_run(config: RunConfig, settings: Mapping[str, Any]) -> Settings:
    """A params.yaml with that run as its only one. `settings` are its blocks; one that is missing has its defaults."""
    return {
        "seeds": [config.seed],
        **{
            name: settings[name]
            for name in Params.model_fields
            if name in RunConfig.model_fields and name in settings
        },
        "benchmarks": Benchmarks().model_dump(),
        "methods": {},
        "sweep": {"seeds": [config.seed + 1], "lrs": [config.train.lr]},
        "comparison": {"against": None},
        "arms": {config.arm: {"method": config.method_name, "settings": settings["method"]}},
        "ablations": {},
        "ablation_seeds": [],
    }


def with_paths(settings: Mapping[str, Any], of: Callable[[str], str]) -> Settings:
    """The settings with `of` applied to each that may be a path."""
    changed = deepcopy(dict(settings))
    for block, key in PATHS:
        if changed.get(block, {}).get(key):
            changed[block][key] = of(changed[block][key])
    for item in (changed.get("prompts", {}).get("decontaminate") or {}).get("against", ()):
        item["source"] = of(item["source"])
    return changed


def without_machine(settings: Mapping[str, Any]) -> Settings:
    """The settings without those of the machine that the run was made on."""
    kept = {
        name: dict(block) if isinstance(block, Mapping) else block
        for name, block in settings.items()
        if name not in UNDECIDING
    }
    for block, key in OF_MACHINE:
        kept.get(block, {}).pop(key, None)
    return kept


def differing(config: RunConfig) -> Settings:
    """The settings of a run that differ from their defaults, by block; without those of the machine."""
    settings = without_machine(config.model_dump(exclude_defaults=True, exclude={*IDENTITY}))
    return {name: block for name, block in settings.items() if block}


def yaml_text(settings: Mapping[str, Any]) -> str:
    """Settings as the text of a params.yaml."""
    yaml, text = YAML(typ="safe", pure=True), StringIO()
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # pyright: ignore[reportAttributeAccessIssue]
    yaml.dump(settings, text)
    return text.getvalue()
