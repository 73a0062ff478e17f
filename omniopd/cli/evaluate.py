"""The command that measures a finished run on held-out prompts and benchmarks, or any model on benchmarks."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from omniopd.command import PARAMS_FILE, Arm, ParamsFile, Seed, clock, note, warn
from omniopd.data.layout import Layout
from omniopd.errors import ConfigError
from omniopd.progress import bar

if TYPE_CHECKING:
    from omniopd.config import Params


def evaluate(
    arm: Arm = None,
    seed: Seed = None,
    model: Annotated[
        str | None, typer.Option(help="Measure a model instead: a directory, or a name of the hub.")
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            help="Benchmarks, separated by commas: packaged ones, or YAML files of your own (default: "
            "`benchmarks.suite` of params.yaml)."
        ),
    ] = None,
    file: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=PATH: read a benchmark's items from a file, not from the hub; may be given several times."
        ),
    ] = None,
    num_items: Annotated[int | None, typer.Option(min=1, help="Items per benchmark (default: all).")] = None,
    num_samples: Annotated[int | None, typer.Option(min=1, help="Responses per item.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0)] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Tokens per response.")] = None,
    params: ParamsFile = PARAMS_FILE,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="An override of the run, as path=value.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a finished run before and after training, or any model, on held-out prompts and benchmarks."""
    from omniopd.config import load_params, parsed, run_of

    if arm is not None and model is not None:
        raise ConfigError("give either --arm, to measure its run, or --model, to measure any model")
    changes = parsed(overrides or ())
    limits = {
        "num_items": num_items, "num_samples": num_samples, "temperature": temperature,
        "max_new_tokens": max_new_tokens,
    }  # fmt: skip
    loaded = _with_benchmarks(load_params(params, changes), params.parent, suite, file or [], limits)
    if model is not None:
        _measure_model(model, loaded, params, as_json=as_json)
    else:
        arm, seed = run_of(loaded, arm, seed, file=str(params))
        _measure_run(arm, seed, loaded, params, changes, as_json=as_json)


def _with_benchmarks(
    params: "Params", root: Path, suite: str | None, files: list[str], limits: dict[str, Any]
) -> "Params":
    """The params with the benchmarks and settings of the command's options, checked."""
    from omniopd.config.benchmarks import measurements, with_suite
    from omniopd.evaluation.benchmarks import judge_of

    options = {name: value for name, value in limits.items() if value is not None}
    names = None
    if suite is not None:
        names = [_from_root(name.strip(), root) for name in suite.split(",") if name.strip()]
    paths = dict(_named_file(option) for option in files)
    benchmarks = with_suite(params.benchmarks, names, root, options)
    benchmarks = benchmarks.model_copy(update={"files": {**benchmarks.files, **paths}})
    measured = measurements(benchmarks, root, system=params.prompts.system, place="--suite")
    for one in measured:
        judge_of(one.benchmark)
    if unused := paths.keys() - {one.benchmark.name for one in measured}:
        raise ConfigError(f"--file {min(unused)}: is not measured; name it in --suite too")
    return params.model_copy(update={"benchmarks": benchmarks})


def _from_root(name: str, root: Path) -> str:
    """The path of a benchmark's file from the folder of params; the name of a packaged one as it is."""
    from omniopd.config.schema.evaluation import names_a_file

    return name if root == Path() or not names_a_file(name) else str(Path(name).absolute())


def _named_file(option: str) -> tuple[str, str]:
    name, _, path = option.partition("=")
    if not (name and path):
        raise ConfigError(f"--file {option}: write the benchmark's name before the path, as gsm8k=test.jsonl")
    return name, str(Path(path).absolute())


def _measure_model(model: str, loaded: "Params", params: Path, *, as_json: bool) -> None:
    if not loaded.benchmarks.suite:
        raise ConfigError("--model: on which benchmarks? name some: --suite gsm8k,math500")
    from omniopd.evaluation.subjects import measure_model
    from omniopd.report.benchmarks import benchmarks_table

    layout = Layout(params.parent)
    with _bars() as on_items:
        measured = measure_model(model, loaded, layout, on_items=on_items, warn=warn)
    warn(*(line for benchmark in measured for line in benchmark.notes))
    if as_json:
        typer.echo(json.dumps({benchmark.name: benchmark.record for benchmark in measured}, indent=1))
    else:
        Console().print(benchmarks_table({model: [benchmark.record for benchmark in measured]}))


def _measure_run(
    arm: str, seed: int, loaded: "Params", params: Path, changes: dict[str, Any], *, as_json: bool
) -> None:
    from omniopd.config import resolve, variant_of

    # Fails early on the most frequent mistakes: torch takes seconds.
    resolve(loaded, arm, seed, file=str(params))
    from omniopd.evaluation.evaluate import evaluate as measure
    from omniopd.report.benchmarks import benchmarks_table
    from omniopd.tracking.track import track_evaluation

    layout, variant = Layout(params.parent), variant_of(changes)
    with _bars() as on_items:
        record = measure(arm, seed, layout, variant, benchmarks=loaded.benchmarks, on_items=on_items)
    warn(*record["notes"])
    track_evaluation(record, layout, variant=variant, warn=warn)
    before, after = (record[when]["greedy"]["accuracy"] for when in ("before", "after"))
    note(f"{arm}, seed {seed}: greedy {before:.3f} → {after:.3f}")
    if as_json:
        typer.echo(json.dumps(record, indent=1))
    elif loaded.benchmarks.suite:
        both = {when: list(record[when]["benchmarks"].values()) for when in ("before", "after")}
        Console().print(benchmarks_table(both))
    clock(f"evaluate@{arm}-{seed}", params)


@contextmanager
def _bars() -> Iterator[Callable[[str, int, int], None]]:
    """A function that shows (benchmark, items done, items in all), one bar at a time."""
    shown: dict[str, Any] = {}
    with ExitStack() as stack:

        def on_items(name: str, done: int, total: int) -> None:
            if name not in shown:
                stack.close()
                shown[name] = stack.enter_context(bar(name, total))
            shown[name].update(done)

        yield on_items
