"""The command that starts a project."""

from pathlib import Path
from typing import Annotated

import typer

from omniopd.command import note, say


def init(
    folder: Annotated[Path, typer.Argument(help="The new folder, or one without a params.yaml.")] = Path(),
    recipe: Annotated[
        str | None, typer.Option(help="A packaged recipe (default: demo, unless --prompts is given).")
    ] = None,
    student: Annotated[str | None, typer.Option(help="A model directory or a hub name.")] = None,
    teacher: Annotated[
        str | None, typer.Option(help="A model directory, a hub name, or vendor/model of an API.")
    ] = None,
    prompts: Annotated[str | None, typer.Option(help="A file of prompts or a hub dataset.")] = None,
) -> None:
    """Start a project: write params.yaml, dvc.yaml, prefect.yaml, .gitignore and README.md; overwrite nothing."""
    from omniopd.inputs.project import Wanted, create_project

    if recipe is None and prompts is None:
        recipe = "demo"
    for path in create_project(folder, Wanted(recipe, student, teacher, prompts)):
        say(f"wrote {path}")
    into = "" if folder == Path() else f"cd {folder} && "
    note(f"Next: {into}omniopd plan")
