"""The command that measures: a finished run on its held-out prompts and on benchmarks, or any model on benchmarks."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from omniopd.command import PARAMS_FILE, ParamsFile, clock, warn
from omniopd.errors import ConfigError

if TYPE_CHECKING:
    from omniopd.config import Params

Given = dict[str, Any]


def evaluate(
    arm: Annotated[
        str | None, typer.Option(help="One of `arms` in params.yaml, whose run is measured.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of that run.")] = 0,
    model: Annotated[
        str | None, typer.Option(help="In place of a run: a directory, or a name of the hub.")
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(help="Benchmarks, with commas between; else `benchmarks.suite` of params.yaml."),
    ] = None,
    file: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=PATH: a file of that benchmark's items in place of the hub's; several times."
        ),
    ] = None,
    num_items: Annotated[int | None, typer.Option(min=1, help="Of each benchmark; else all.")] = None,
    num_samples: Annotated[int | None, typer.Option(min=1, help="Responses an item.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0)] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Of a response.")] = None,
    params: ParamsFile = PARAMS_FILE,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="A setting that the run was given, as path=value.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Measure a finished run, before and after, or any model: held-out prompts and benchmarks."""
    from omniopd.config import load_params, parsed

    if (arm is None) == (model is None):
        raise ConfigError(
            "give either --arm, whose run is measured, or --model, a directory or a name of the hub"
        )
    own = parsed(overrides or ())
    limits = {
        "num_items": num_items, "num_samples": num_samples, "temperature": temperature,
        "max_new_tokens": max_new_tokens,
    }  # fmt: skip
    loaded = with_suite(load_params(params, own), suite, file or (), limits)
    if model is not None:
        _model(model, loaded, params, as_json=as_json)
    else:
        assert arm is not None
        _run(arm, seed, loaded, params, own, as_json=as_json)


def with_suite(
    params: "Params", suite: str | None, files: "list[str] | tuple[()]", limits: Given
) -> "Params":
    """The params with what the command line says of benchmarks in place of their own.

    Raises:
        ConfigError: a benchmark that there is not, or a file that is given for none.
    """
    from omniopd.config import Benchmarks
    from omniopd.config.messages import validated
    from omniopd.evaluation.benchmarks import benchmark_named

    given: Given = {name: value for name, value in limits.items() if value is not None}
    if suite is not None:
        given["suite"] = [name.strip() for name in suite.split(",") if name.strip()]
    own_files = dict(map(_file, files))
    if own_files:
        given["files"] = {**params.benchmarks.files, **own_files}
    merged = validated(Benchmarks, {**params.benchmarks.model_dump(), **given}, "--suite")
    for name in [*merged.suite, *merged.files]:
        benchmark_named(name)
    if unused := [name for name in own_files if name not in merged.suite]:
        raise ConfigError(f"--file {unused[0]}: is not measured; name it in --suite too")
    return params.model_copy(update={"benchmarks": merged})


def _file(given: str) -> tuple[str, str]:
    name, equals, path = given.partition("=")
    if not (name and equals and path):
        raise ConfigError(f"--file {given}: write the benchmark's name before the path, as gsm8k=test.jsonl")
    return name, str(Path(path).absolute())


def _model(model: str, loaded: "Params", params: Path, *, as_json: bool) -> None:
    if not loaded.benchmarks.suite:
        raise ConfigError("--model: on which benchmarks? name some: --suite gsm8k,math500")
    from omniopd.data.layout import Layout
    from omniopd.evaluation.subjects import measure_model
    from omniopd.report.benchmarks import benchmarks_table

    layout = Layout(params.parent)
    with _bars() as on_items:
        measured = measure_model(model, loaded, layout, on_items=on_items, warn=lambda line: warn([line]))
    warn([note for found in measured for note in found.notes])
    if as_json:
        typer.echo(json.dumps({found.name: found.record for found in measured}, indent=1))
        return
    Console().print(benchmarks_table({model: [found.record for found in measured]}))


def _run(arm: str, seed: int, loaded: "Params", params: Path, own: Given, *, as_json: bool) -> None:
    from omniopd.config import resolve, variant_of
    from omniopd.data.layout import Layout

    resolve(loaded, arm, seed, file=str(params))  # the cheapest mistakes, before torch is imported
    from omniopd.evaluation.evaluate import evaluate as measure
    from omniopd.report.benchmarks import benchmarks_table
    from omniopd.tracking.track import track_evaluation

    layout = Layout(params.parent)
    with _bars() as on_items:
        record = measure(arm, seed, layout, variant_of(own), benchmarks=loaded.benchmarks, on_items=on_items)
    warn(record["notes"])
    track_evaluation(record, layout, variant=variant_of(own), warn=lambda line: warn([line]))
    before, after = (record[when]["greedy"]["accuracy"] for when in ("before", "after"))
    Console(stderr=True).print(f"{arm}, seed {seed}: greedy {before:.3f} → {after:.3f}", highlight=False)
    if as_json:
        typer.echo(json.dumps(record, indent=1))
    elif loaded.benchmarks.suite:
        both = {when: list(record[when]["benchmarks"].values()) for when in ("before", "after")}
        Console().print(benchmarks_table(both))
    clock(f"evaluate@{arm}-{seed}", params)


@contextmanager
def _bars() -> Iterator[Callable[[str, int, int], None]]:
    """What shows the items that are done, with one bar at a time for each benchmark."""
    from omniopd.progress import bar

    shown: dict[str, Any] = {}
    with ExitStack() as stack:

        def on_items(name: str, done: int, total: int) -> None:
            if name not in shown:
                stack.close()
                shown[name] = stack.enter_context(bar(name, total))
            shown[name].update(done)

        yield on_items
