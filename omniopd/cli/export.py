"""The command that writes a run as a folder that others can load, and pushes it to the hub."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from omniopd.command import PARAMS_FILE, ParamsFile, note, say, warn
from omniopd.data.layout import Layout
from omniopd.errors import ConfigError

if TYPE_CHECKING:
    from omniopd.export.checkpoints import Wanted


def export(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A directory name in runs/, its path, or an arm with --seed.")
    ],
    seed: Annotated[int, typer.Option(min=0, help="The seed of an arm.")] = 0,
    round_: Annotated[
        str,
        typer.Option(
            "--round", metavar="N|best|last", help="The checkpoint: after N rounds, or the best validated."
        ),
    ] = "last",
    merge: Annotated[bool, typer.Option("--merge", help="Merge a LoRA adapter into its base.")] = False,
    data: Annotated[
        bool, typer.Option("--data", help="Also write trajectories and verdicts, as a dataset.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="The folder (default: exports/RUN); that of the data ends in -data.")
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(metavar="OWNER/NAME", help="Push to the Hugging Face hub; the data to OWNER/NAME-data."),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Push to private repositories.")] = False,
    params: ParamsFile = PARAMS_FILE,
) -> None:
    """Write a run as a model for transformers, vLLM and the hub, with a model card; optionally its data."""
    wanted = _wanted(round_)
    if private and push is None:
        raise ConfigError("--private: nothing is pushed; add --push OWNER/NAME, or leave --private out")
    from omniopd.export import hub
    from omniopd.export.folders import DATA_SUFFIX, export_run
    from omniopd.report.gather import find_run

    if push is not None:
        hub.check_name(push)
    exported = export_run(
        find_run(run, Layout(params.parent), seed=seed), out, wanted=wanted, merge=merge, with_data=data,
        repo=push or "", warn=warn,
    )  # fmt: skip
    note(f"checkpoint after round {exported.round} of {exported.num_rounds}")
    for folder in filter(None, (exported.model, exported.data)):
        say(f"{folder}: {_size(folder)}")
    if push is not None:
        say(hub.push(exported.model, push, private=private))
        if exported.data is not None:
            say(hub.push(exported.data, f"{push}{DATA_SUFFIX}", kind="dataset", private=private))


def _wanted(text: str) -> "Wanted":
    if text.isdecimal():
        return int(text)
    if text in ("best", "last"):
        return text
    raise ConfigError(f"--round {text}: is not a round; write a number, best or last")


def _size(folder: Path) -> str:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size / 1e3:.0f} kB"
