"""The steps of the pipeline, which dvc.yaml calls, and the plan of what runs cost."""

from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Console

from omniopd.command import PARAMS_FILE, Arms, ParamsFile, Seed, Seeds, clock, warn
from omniopd.errors import ModelError

# Those that only dvc.yaml calls, as a rule, are not listed.
app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.command(hidden=True)
def check(
    params: ParamsFile = PARAMS_FILE,
    resolved: Annotated[
        bool, typer.Option("--resolved", help="Print every setting, defaults included, and check no more.")
    ] = False,
) -> None:
    """Read params, prompts and models; find every error before work starts; say what would be done."""
    from omniopd.config import as_yaml, load_params
    from omniopd.preflight.check import check as find_errors

    if resolved:
        typer.echo(as_yaml(load_params(params)), nl=False)
        return

    _, warnings, plan = find_errors(params)
    console = Console(soft_wrap=True, emoji=False)
    for line in plan:
        console.print(line, markup=False, highlight=False)
    warn(warnings)


@app.command(short_help="Say what runs will cost: calls, tokens, dollars, time, memory.")
def plan(
    params: ParamsFile = PARAMS_FILE,
    arm: Arms = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Whose student is sampled; the first of `seeds`.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """What the runs will ask of their teacher: requests, tokens, cost and time; and what training takes of memory."""
    import json

    from omniopd.data.layout import Layout
    from omniopd.preflight import fit
    from omniopd.preflight import plan as planning
    from omniopd.preflight.check import check as find_errors
    from omniopd.report.plan import memory_line, memory_table, plan_table, plan_total

    checked, warnings, _ = find_errors(params)
    layout = Layout(params.parent)
    rows = planning.as_json(
        planning.plan(checked, layout, arms=arm or (), seed=seed),
        checked,
        planning.prices_of(checked, layout),
    )
    first = checked.seeds[0] if seed is None else seed
    memory = None
    try:
        memory = fit.as_json(fit.planned_fits(checked, layout, arms=arm or (), seed=first), fit.room())
    except ModelError as error:
        warnings = [*warnings, str(error)]
    if as_json:
        typer.echo(json.dumps({"asked": rows, "memory": memory}, indent=1))
        return
    console = Console()
    console.print(plan_table(rows))
    console.print(plan_total(rows), highlight=False, soft_wrap=True)
    if memory is not None:
        console.print(memory_table(memory))
        console.print(memory_line(memory), highlight=False, soft_wrap=True)
    warn(warnings)


@app.command("resolve", hidden=True)
def write_resolved(params: ParamsFile = PARAMS_FILE) -> None:
    """Write resolved/: of each stage of dvc.yaml the settings that decide its outputs, which it depends on."""
    from omniopd.config import load_params
    from omniopd.data.layout import Layout
    from omniopd.inputs import stages

    stages.write_resolved(load_params(params), Layout(params.parent))


@app.command(hidden=True)
def prepare(seed: Seed = 0, params: ParamsFile = PARAMS_FILE) -> None:
    """Write the prompts of a seed, split into train, validation and held-out."""
    from omniopd.data.layout import Layout
    from omniopd.data.store import read_json
    from omniopd.inputs.prepare import prepare as write_prompts
    from omniopd.preflight.check import check as find_errors
    from omniopd.report.prompts import findings_text

    checked, warnings, _ = find_errors(params)
    warn(warnings)
    layout = Layout(params.parent)
    write_prompts(checked, seed, layout)
    if (report := layout.prompt_report(seed)).exists():
        line = f"{checked.prompts.source}: {findings_text(read_json(report))}; more in {report}"
        Console(stderr=True, soft_wrap=True, emoji=False).print(line, markup=False, highlight=False)
    clock(f"prepare@{seed}", params)


@app.command(hidden=True)
def base(seed: Seed = 0, params: ParamsFile = PARAMS_FILE) -> None:
    """Train or find the student and the teacher of a seed."""
    from omniopd.data.layout import Layout
    from omniopd.inputs.base import base as make_models
    from omniopd.preflight.check import check as find_errors
    from omniopd.progress import bar

    checked, _, _ = find_errors(params)
    demo = checked.models.demo
    total = demo.student.num_steps + demo.teacher.num_steps
    with bar(f"base seed {seed}", total) as shown:
        on_step = _stepper(shown, demo.student.num_steps)
        found = make_models(checked, seed, Layout(params.parent), on_step=on_step)
    _say_start(found["student"].get("starts", []), demo.start)
    clock(f"base@{seed}", params)


@app.command(hidden=True)
def rates(params: ParamsFile = PARAMS_FILE) -> None:
    """Choose each arm's learning rate from the sweeps: learning_rates.json."""
    from omniopd.config import load_params
    from omniopd.data.layout import Layout
    from omniopd.rounds.sweep import choose_rates

    chosen, warnings = choose_rates(load_params(params), Layout(params.parent))
    listed = ", ".join(f"{arm} {lr:g}" for arm, lr in chosen.items() if lr)
    Console(stderr=True, soft_wrap=True).print(f"learning rates: {listed}", highlight=False)
    warn(warnings)


@app.command(hidden=True)
def compare(params: ParamsFile = PARAMS_FILE, arm: Arms = None, seed: Seeds = None) -> None:
    """Put evaluated arms side by side: metrics/comparison.json, a table, plots; of some in metrics/subset."""
    from omniopd.config import load_params
    from omniopd.data.layout import Layout
    from omniopd.report.compare import compare as collect
    from omniopd.tracking.track import track_comparison

    layout = Layout(params.parent)
    evaluations, into = collect(load_params(params), layout, arms=arm or (), seeds=seed or ())
    track_comparison(evaluations, layout, warn=lambda line: warn([line]))
    chosen = "".join(
        [f" --arm {name}" for name in arm or ()] + [f" --seed {number}" for number in seed or ()]
    )
    Console(stderr=True, soft_wrap=True).print(
        f"{into.records} and {into.table} written; `omniopd table{chosen}` shows them", highlight=False
    )


@app.command(hidden=True)
def table(params: ParamsFile = PARAMS_FILE, arm: Arms = None, seed: Seeds = None) -> None:
    """Show the comparison, or one of some arms and seeds, and where the time went."""
    from omniopd.config import load_params
    from omniopd.data.layout import Layout
    from omniopd.data.store import read_json
    from omniopd.report.compare import compared, evaluation
    from omniopd.report.summary import Evaluated, summarise
    from omniopd.report.table import accuracy_table, cost_table, seconds_line, summary_table

    layout, console = Layout(params.parent), Console()
    if arm or seed:
        records, _ = compared(load_params(params), layout, arms=arm or (), seeds=seed or ())
    else:
        records = read_json(layout.compared.records, made_by="omniopd compare", like=list[Evaluated])
    if len({record["seed"] for record in records}) > 1:
        evaluations = [evaluation(record["arm"], record["seed"], layout) for record in records]
        against = load_params(params).comparison.against
        console.print(summary_table(summarise(evaluations, against=against), against=against))
    console.print(accuracy_table(records))
    console.print(cost_table(records))
    console.print(seconds_line(records, layout), highlight=False, soft_wrap=True)


def _say_start(starts: list[float], wanted: "DemoStart") -> None:  # noqa: F821  # pyright: ignore[reportUndefinedVariable]
    if len(starts) < 2:
        return
    listed = ", ".join(f"{accuracy:.3f}" for accuracy in starts)
    line = f"the student was drawn {len(starts)} times, greedy accuracy on validation prompts {listed}"
    if all(wanted.distance(accuracy) for accuracy in starts):
        line += f"; none lies within {wanted.lowest} and {wanted.highest}, so the nearest is used"
    Console(stderr=True).print(line, highlight=False)


def _stepper(shown: "Bar", student_steps: int) -> Callable[[str, int, int], None]:  # noqa: F821  # pyright: ignore[reportUndefinedVariable]
    def on_step(role: str, step: int, total: int) -> None:
        done = step + (student_steps if role == "teacher" else 0)
        shown.update(done, f"{role} {step}/{total} steps")

    return on_step
