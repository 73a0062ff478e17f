"""Pages of the docs that are generated from the code: commands, params.yaml, metrics and modules.

A hook of MkDocs (mkdocs.yml); nothing is written into docs/.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic.fields import FieldInfo
from typer.main import get_command

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))  # whence `flows` and `omniopd` are read, as the pages are

from omniopd.cli.app import COMMANDS, STEPS, app  # noqa: E402
from omniopd.config import Params, RunConfig  # noqa: E402
from omniopd.config.overrides import read_yaml  # noqa: E402
from omniopd.data.metrics import FAMILIES, METRICS  # noqa: E402
from omniopd.settings import Key, Section  # noqa: E402

ROOMS = {
    "functional": "The mathematics: pure functions of tensors and lists. [The method](../method.md) has the equations.",
    "methods": "The methods. [Adding a method](../adding-a-method.md) is a tutorial.",
    "teachers": "Teachers. [Adding a teacher](../adding-a-teacher.md) is a tutorial.",
    "data": "Records and their files. [Data](../data.md) says where they are.",
    "sampling": "Responses of the student: the sampler protocol, in this process and on vLLM.",
    "training": "The trainer, its step, checkpoints.",
    "grading": "Graders. [Grading](../grading.md) says how each one judges responses.",
    "evaluation": "Benchmarks on any model, and a run's student before and after. See [Benchmarks](../benchmarks.md).",
    "errors": "Errors that the user can fix: the command line prints one line, and exits with 2.",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    pages = {
        "commands": commands_page(),
        "params": params_page((REPOSITORY / "params.yaml").read_text()),
        "metrics": metrics_page(),
    }
    pages |= {room: room_page(room, about) for room, about in ROOMS.items()}
    for name, text in pages.items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def commands_page() -> str:
    """Each command with its options, as in `--help`."""
    group = get_command(app)
    parts = [
        "# Commands",
        "`omniopd COMMAND --help` prints the same. Exit codes of every command: 0, done; 1, a bug, with its "
        "traceback; 2, an error that you can fix, in one line on standard error. Results "
        "(`--json`, tables) are on standard output, progress and warnings on standard error; without a terminal "
        "progress is a line every quarter of a minute.",
    ]
    for title, names in (("", COMMANDS), ("## Steps of the pipeline", STEPS)):
        parts += [title, *("`dvc repro` calls these.",) * bool(title)]
        for name in names:
            parts += _command(f"omniopd {name}", group.commands[name])
    return "\n\n".join(filter(None, parts)) + "\n"


def _command(name: str, command: Any) -> Iterator[str]:
    yield f"## {name}"
    yield (command.help or "").strip()
    if hasattr(command, "commands"):
        for child, below in command.commands.items():
            yield from (part.replace("## ", "### ", 1) for part in _command(f"{name} {child}", below))
        return
    rows = [_option(parameter) for parameter in command.params]
    if rows:
        yield "\n".join(["| option | default | |", "|---|---|---|", *rows])


def _option(parameter: Any) -> str:
    names = " ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
    default = parameter.default
    if callable(default) or default in (None, (), []) or parameter.required:
        shown = "required" if parameter.required else ""
    else:
        shown = f"`{str(default).lower() if isinstance(default, bool) else default}`"
    return f"| {names} | {shown} | {_cell(getattr(parameter, 'help', None) or '')} |"


def params_page(text: str) -> str:
    """Each setting: its default, its value in the repository's params.yaml, its type, and what it does."""
    schema, defaults, repository = Params.model_json_schema(), _defaults(), read_yaml(text, "params.yaml")
    parts = [
        "# params.yaml",
        "Every setting but `prompts.source` and the arms has a default. The column `repository` is the value in the "
        "repository's own `params.yaml`, which is tuned to the demo. Settings with ° change no result: a run resumes "
        "under any value of them. An unknown name, a wrong type or a pair of settings that cannot go together is "
        "refused before work starts; `--set path=value` gives one run another value. `omniopd check --resolved` "
        "prints the settings in use.",
    ]
    for top in Params.model_fields:
        if top in ("arms", "ablations"):
            continue
        is_free = top in RunConfig.model_fields and Key.NEVER in RunConfig.model_fields[top].metadata
        table = ["| setting | default | repository | may be | |", "|---|---|---|---|---|"]
        for path, field in _settings(Params, top):
            cells = (
                _code(path.removeprefix(f"{top}."))
                + (" °" if is_free or Key.NEVER in field.metadata else ""),
                _code(_shown(_value(defaults, path))),
                _code(_shown(_value(repository, path))),
                _cell(_type(schema, path)),
                _cell(field.description or ""),
            )
            table.append(f"| {' | '.join(cells)} |")
        parts += [f"## {top}", "\n".join(table)]
    parts += [
        "## arms",
        "One entry an arm: `method` (a name above, or `package.module:Class`); `settings`, `train` and `rollout`, "
        "which override the blocks above; and `lr_of`, the arm whose sweep decides the learning rate. `ablations` "
        "has the same form, and runs on `ablation_seeds`.",
    ]
    return "\n\n".join(parts) + "\n"


def _defaults() -> dict[str, Any]:
    """The settings of a minimal params.yaml."""
    least = {"prompts": {"source": "required"}, "arms": {"an-arm": {"method": "fork"}}}
    return Params.model_validate(least).model_dump()


def _settings(block: type[Section], name: str, above: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """(path, field) of a setting, or of all settings in a block; for an optional block both."""
    field, path = block.model_fields[name], f"{above}{name}"
    inner = _blocks(field.annotation)
    if not (isinstance(field.annotation, type) and inner):
        yield path, field
    for section in inner:
        for below in section.model_fields:
            yield from _settings(section, below, f"{path}.")


def _blocks(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    options = () if get_origin(annotation) in (dict, list) else get_args(annotation)
    return [section for option in options for section in _blocks(option)]


def _value(settings: Any, path: str) -> Any:
    for name in path.split("."):
        settings = settings[name] if isinstance(settings, dict) and name in settings else _UNSET
    return settings


def _shown(value: Any) -> str:
    """A value as YAML on one line."""
    return "" if value is _UNSET else value if isinstance(value, str) else json.dumps(value).replace('"', "")


_UNSET = object()


def _type(schema: dict[str, Any], path: str) -> str:
    """The type of the setting at a path of the schema; empty if the schema has none."""
    node: dict[str, Any] = schema
    for name in path.split("."):
        node = next(
            (
                option["properties"][name]
                for option in _options(schema, node)
                if name in option.get("properties", {})
            ),
            {},
        )
    return " or ".join(
        dict.fromkeys(filter(None, (_option_text(option) for option in _options(schema, node))))
    )


def _options(schema: dict[str, Any], node: dict[str, Any]) -> list[dict[str, Any]]:
    """The alternatives of a node, with references resolved."""
    if "$ref" in node:
        return _options(schema, schema["$defs"][node["$ref"].rsplit("/", 1)[1]])
    forms = [*node.get("anyOf", ()), *node.get("allOf", ())]
    return [option for form in forms for option in _options(schema, form)] if forms else [node]


def _option_text(option: dict[str, Any]) -> str:
    if "enum" in option:
        return ", ".join(f"`{value}`" for value in option["enum"])
    if "const" in option:
        return f"`{option['const']}`"
    signs = {"exclusiveMinimum": "> ", "minimum": "≥ ", "exclusiveMaximum": "< ", "maximum": "≤ "}
    limits = [f"{sign}{option[name]:g}" for name, sign in signs.items() if name in option]
    kind = {"object": "block", "array": "list", "null": "null"}.get(
        option.get("type", ""), option.get("type", "")
    )
    return " ".join([kind, ", ".join(limits)]).strip()


def metrics_page() -> str:
    """Each metric of a round: its meaning, its chart in the report, and whether it has an alarm."""
    table = ["| metric | meaning | unit | chart of the report | alarm |", "|---|---|---|---|---|"]
    for name, metric in METRICS.items():
        cells = (_code(name), metric.about, metric.unit, metric.chart, "yes" if metric.rule else "")
        table.append(f"| {' | '.join(cells)} |")
    table += [f"| `{start}…` | {about} | | | |" for start, about in FAMILIES.items()]
    parts = [
        "# Metrics",
        "Each round has one line in `metrics.jsonl`, and the same metrics in MLflow. Each method has some of them. "
        "Counts of tokens, requests and responses are per round. [Alarms](../running.md) have their thresholds in "
        "`alarms`.",
        "\n".join(table),
    ]
    return "\n\n".join(parts) + "\n"


def room_page(room: str, about: str) -> str:
    """The public names of a room's modules, from their docstrings."""
    folder = REPOSITORY / "omniopd" / room
    modules = sorted(
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
        for path in folder.rglob("*.py")
        if not path.name.startswith("_") and "isolated" not in path.parts
    )
    named = modules or [f"omniopd.{room}"]
    return "\n\n".join([f"# omniopd.{room}", about, *(f"::: {module}" for module in named)]) + "\n"


def _code(text: str) -> str:
    return f"`{_cell(text)}`" if text else ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")
