"""A new project: a folder with the settings of a recipe, a pipeline for DVC, deployments for Prefect and a README."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from omniopd.config.overrides import RECIPES, recipe_settings
from omniopd.data.sources import Source, fields_of, source_of
from omniopd.data.store import write_atomic
from omniopd.errors import ConfigError, DataError
from omniopd.tasks import TASKS
from omniopd.teachers.capabilities import names_an_api
from omniopd.versions import init_project

TEMPLATES = files("omniopd") / "templates"
# Columns that datasets have, the likeliest first.
PROMPT_COLUMNS = ("prompt", "question", "problem", "instruction", "query", "messages")
ANSWER_COLUMNS = ("answer", "solution", "response", "output", "target")


@dataclass(frozen=True)
class Wanted:
    """What a new project starts from; a model or prompts that are given override the recipe's.

    >>> Wanted(recipe="demo").student is None
    True
    """

    recipe: str | None = None
    student: str | None = None
    teacher: str | None = None
    prompts: str | None = None


def create_project(folder: Path, wanted: Wanted) -> list[Path]:
    """Write the files of a new project and return them; nothing is overwritten.

    DVC is set up too, in a git repository or without one. A `.gitignore` that exists gets the missing lines, and other
    files that exist are kept.

    Raises:
        ConfigError: the folder has a params.yaml or dvc.yaml, or the recipe does not exist.
        DataError: the file of prompts cannot be read.
    """
    for name in ("params.yaml", "dvc.yaml"):
        if (folder / name).exists():
            raise ConfigError(f"{folder / name}: exists, and is not overwritten; choose another folder")
    texts = _texts(folder, _as_seen_from(folder, wanted))
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in texts.items():
        path = folder / name
        if path.exists():
            if name != ".gitignore":
                continue
            lines = path.read_text(encoding="utf-8").splitlines()
            text = "\n".join([*lines, *(line for line in text.splitlines() if line not in lines)]) + "\n"
        write_atomic(path, lambda partial, text=text: partial.write_text(text, encoding="utf-8"))
        written.append(path)
    init_project(folder)
    return written


def _as_seen_from(folder: Path, wanted: Wanted) -> Wanted:
    """With paths of this directory as relative to the folder, where params.yaml will be."""

    def seen(name: str | None) -> str | None:
        if name is None or Path(name).is_absolute() or not Path(name).exists():
            return name
        return Path(os.path.relpath(name, folder)).as_posix()

    return replace(
        wanted, **{part: seen(getattr(wanted, part)) for part in ("student", "teacher", "prompts")}
    )


def _texts(folder: Path, wanted: Wanted) -> dict[str, str]:
    """The text of each file, by its name."""
    recipe = recipe_settings(wanted.recipe, "omniopd init") if wanted.recipe else {}
    seeds, arms = recipe.get("seeds", [0]), recipe.get("arms", {"omniopd-fork": {"method": "fork"}})
    title = _title(wanted)
    readme = {
        "{name}": folder.resolve().name,
        "{title}": title,
        "{arm}": next(iter(arms)),
        "{seed}": str(seeds[0]),
    }
    return {
        "params.yaml": _params_text(folder, wanted, title, seeds, arms),
        "dvc.yaml": _template(
            "dvc.yaml", {"{prompts_file}": f"      - {wanted.prompts}\n" if _file(folder, wanted) else ""}
        ),
        "prefect.yaml": _template("prefect.yaml", {}),
        ".gitignore": _template("gitignore", {}),
        "README.md": _template("README.md", readme),
    }


def _template(name: str, values: Mapping[str, str]) -> str:
    text = (TEMPLATES / name).read_text(encoding="utf-8")
    for place, value in values.items():
        text = text.replace(place, value)
    return text


def _title(wanted: Wanted) -> str:
    """A sentence: the first line of the recipe, unless its models or prompts are replaced."""
    if wanted.recipe and not (wanted.student or wanted.teacher or wanted.prompts):
        return (RECIPES / f"{wanted.recipe}.yaml").read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
    return "A student learns from the text of a teacher."


def _params_text(
    folder: Path, wanted: Wanted, title: str, seeds: Sequence[int], arms: Mapping[str, Mapping[str, Any]]
) -> str:
    lines = [f"# {title}", "# `omniopd check --resolved` prints every setting with its default."]
    lines += [f"recipe: {wanted.recipe}"] if wanted.recipe else []
    lines += [f"prompts: {_flow(_prompts_block(folder, wanted))}"] if wanted.prompts else []
    lines += [f"models: {_flow({'student': wanted.student})}"] if wanted.student else []
    lines += [f"teacher: {_flow(_teacher_block(folder, wanted.teacher))}"] if wanted.teacher else []
    lines += [
        "",
        "# DVC reads these two from this file, so they are written here.",
        f"seeds: {list(seeds)}",
        "arms:",
    ]
    lines += [f"  {name}: {_flow(arm)}" for name, arm in arms.items()]
    lines += [
        "",
        "# What else is often set, for example:",
        "# train: { num_rounds: 100, lr: 1.0e-5 }",
        "# rollout: { num_prompts: 32, max_new_tokens: 512 }",
        "# teacher: { budget_usd: 20.0 }",
    ]
    return "\n".join(lines) + "\n"


def _prompts_block(folder: Path, wanted: Wanted) -> dict[str, Any]:
    """The source with its columns, as far as a file shows them, and without what the recipe says of its source."""
    assert wanted.prompts is not None
    block: dict[str, Any] = {"source": wanted.prompts}
    if source := _file(folder, wanted):
        fields = fields_of(source)
        columns = {
            part: next((name for name in names if name in fields), None)
            for part, names in (("prompt", PROMPT_COLUMNS), ("answer", ANSWER_COLUMNS))
        }
        block["columns"] = {part: name for part, name in columns.items() if name}
    return block | dict.fromkeys(("subset", "answer_pattern", "decontaminate") if wanted.recipe else ())


def _file(folder: Path, wanted: Wanted) -> Source | None:
    """The file of prompts; None where they come from the hub, a built-in task or the recipe.

    Raises:
        DataError: there is no such file.
    """
    if wanted.prompts is None or wanted.prompts in TASKS:
        return None
    path = Path(os.path.normpath(folder.absolute() / wanted.prompts))  # the folder may be new
    name = str(path) if path.exists() else wanted.prompts
    source = source_of(name, folder, subset=None, split="train")
    if source.path is not None and not path.exists():
        raise DataError(
            f"--prompts {wanted.prompts}: no such file, no hub dataset (owner/name), and not a built-in task "
            f"({', '.join(TASKS)})"
        )
    return None if source.path is None else source


def _teacher_block(folder: Path, teacher: str) -> dict[str, Any]:
    is_api = not (folder / teacher).is_dir() and names_an_api(teacher)
    return {"kind": "api" if is_api else "transformers", "model": teacher}


def _flow(block: Any) -> str:
    """A value on one line of YAML.

    >>> _flow({"method": "fork", "settings": {"beta": 0.1, "centred": True}})
    '{method: fork, settings: {beta: 0.1, centred: true}}'
    """
    yaml, text = YAML(typ="safe", pure=True), StringIO()
    yaml.default_flow_style, yaml.width = True, 2**16
    yaml.sort_base_mapping_type_on_output = False  # pyright: ignore[reportAttributeAccessIssue]
    yaml.dump(block, text)
    return text.getvalue().strip()
