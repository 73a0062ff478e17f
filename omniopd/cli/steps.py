"""The steps of the pipeline, which dvc.yaml calls, and the plan of what runs cost."""

import json
from typing import Annotated

import typer
from rich.console import Console

from omniopd.command import PARAMS_FILE, Arms, ParamsFile, Seed, Seeds, clock, note, say, warn
from omniopd.data.layout import Layout
from omniopd.errors import ModelError
from omniopd.progress import bar, base_bar

# Steps that users rarely call themselves are hidden in --help.
app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.command(hidden=True)
def check(
    params: ParamsFile = PARAMS_FILE,
    resolved: Annotated[
        bool, typer.Option("--resolved", help="Only print all settings, defaults included.")
    ] = False,
    self_test: Annotated[
        bool,
        typer.Option(
            "--self-test/--no-self-test", help="Load the models and compare them with plain forward passes."
        ),
    ] = True,
) -> None:
    """Check params, prompts and models before work starts, report every mistake, and print the plan."""
    from omniopd.config import as_yaml, load_params
    from omniopd.preflight.check import check as find_errors

    if resolved:
        typer.echo(as_yaml(load_params(params)), nl=False)
        return

    checked, warnings, plan = find_errors(params)
    for line in plan:
        say(line)
    if self_test:
        from omniopd.preflight.self_test import self_tests

        lines, more = self_tests(checked, Layout(params.parent))
        for line in lines:
            say(line)
        warnings += [f"{params}: {warning}" for warning in more]
    warn(*warnings)


@app.command(short_help="Check params.yaml; estimate cost, tokens, time and memory.")
def plan(
    params: ParamsFile = PARAMS_FILE,
    arm: Arms = None,
    seed: Seed = None,
    num_prompts: Annotated[
        int, typer.Option(min=0, help="Prompts that the student answers; 0 estimates an upper bound at once.")
    ] = 16,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check params.yaml, and estimate requests, tokens, cost and time of the runs, and the memory of training.

    Needs neither `prepare` nor `base`, and asks the teacher nothing. Lists every mistake if there are any.
    """
    from omniopd.preflight import fit
    from omniopd.preflight import plan as planning
    from omniopd.preflight.check import examined
    from omniopd.report.plan import memory_line, memory_table, plan_table, plan_total, sample_line

    with bar("checking settings, prompts and models", 1) as shown:
        checked = examined(params)
        shown.update(1)
    settings, warnings, layout, arms = checked.params, checked.warnings, Layout(params.parent), arm or ()
    seed = settings.seeds[0] if seed is None else seed
    prompts = checked.train_prompts(seed)
    with bar("sampling the student", num_prompts) as shown:
        planned = planning.plan(
            settings, layout, prompts, arms=arms, seed=seed, num_prompts=num_prompts, on_sampled=shown.update
        )
    rows = planning.as_json(planned.rows, settings, layout)
    memory = None
    try:
        fits = fit.planned_fits(settings, layout, prompts, arms=arms, seed=seed)
        memory = fit.as_json(fits, fit.room())
    except ModelError as error:
        warnings = [*warnings, str(error)]
    if as_json:
        typer.echo(json.dumps({"asked": rows, "sampled": planned.num_sampled, "memory": memory}, indent=1))
        return
    for line in checked.lines:
        say(line)
    console = Console()
    console.print(plan_table(rows))
    console.print(plan_total(rows), highlight=False, soft_wrap=True)
    console.print(sample_line(planned.num_sampled), highlight=False, soft_wrap=True)
    if memory is not None:
        console.print(memory_table(memory))
        console.print(memory_line(memory), highlight=False, soft_wrap=True)
    warn(*warnings)


@app.command("resolve", hidden=True)
def write_resolved(params: ParamsFile = PARAMS_FILE) -> None:
    """Write resolved/: for each stage of dvc.yaml, the settings that its outputs depend on."""
    from omniopd.config import load_params
    from omniopd.inputs import stages

    stages.write_resolved(load_params(params), Layout(params.parent))


@app.command(hidden=True)
def prepare(seed: Seed = None, params: ParamsFile = PARAMS_FILE) -> None:
    """Write the prompts of a seed, split into train, validation and held-out."""
    from omniopd.data.store import read_json
    from omniopd.inputs.prepare import prepare as write_prompts
    from omniopd.preflight.check import check as find_errors
    from omniopd.report.prompts import findings_text

    checked, warnings, _ = find_errors(params)
    warn(*warnings)
    layout, seed = Layout(params.parent), checked.seeds[0] if seed is None else seed
    write_prompts(checked, seed, layout)
    if (report := layout.prompt_report(seed)).exists():
        note(f"{checked.prompts.source}: {findings_text(read_json(report))}; more in {report}")
    clock(f"prepare@{seed}", params)


@app.command(hidden=True)
def base(seed: Seed = None, params: ParamsFile = PARAMS_FILE) -> None:
    """Train the student and the teacher of a seed, or record the models that params name."""
    from omniopd.inputs.base import base as make_models
    from omniopd.preflight.check import check as find_errors

    checked, _, _ = find_errors(params)
    seed = checked.seeds[0] if seed is None else seed
    with base_bar(checked, seed) as on_step:
        models = make_models(checked, seed, Layout(params.parent), on_step=on_step)
    accuracies, target = models["student"].get("starts", []), checked.models.demo.start
    if len(accuracies) > 1:
        listed = ", ".join(f"{accuracy:.3f}" for accuracy in accuracies)
        line = (
            f"the student was drawn {len(accuracies)} times, greedy accuracy on validation prompts {listed}"
        )
        if all(map(target.distance, accuracies)):
            line += f"; none lies within {target.lowest} and {target.highest}, so the nearest is used"
        note(line)
    clock(f"base@{seed}", params)


@app.command(hidden=True)
def rates(params: ParamsFile = PARAMS_FILE) -> None:
    """Choose each arm's learning rate from the sweeps: learning_rates.json."""
    from omniopd.config import load_params
    from omniopd.rounds.sweep import choose_rates

    chosen, warnings = choose_rates(load_params(params), Layout(params.parent))
    listed = ", ".join(f"{arm} {lr:g}" for arm, lr in chosen.items() if lr)
    note(f"learning rates: {listed}")
    warn(*warnings)


@app.command(hidden=True)
def compare(params: ParamsFile = PARAMS_FILE, arm: Arms = None, seed: Seeds = None) -> None:
    """Compare evaluated arms: metrics/comparison.json, a table, plots; for some of them in metrics/subset."""
    from omniopd.config import load_params
    from omniopd.report.compare import compare as collect
    from omniopd.tracking.track import track_comparison

    layout = Layout(params.parent)
    evaluations, into = collect(load_params(params), layout, arms=arm or (), seeds=seed or ())
    track_comparison(evaluations, layout, warn=warn)
    options = [*(f" --arm {name}" for name in arm or ()), *(f" --seed {number}" for number in seed or ())]
    note(f"{into.records} and {into.table} written; `omniopd table{''.join(options)}` shows them")


@app.command(hidden=True)
def table(params: ParamsFile = PARAMS_FILE, arm: Arms = None, seed: Seeds = None) -> None:
    """Show the comparison, of some arms and seeds if given, and where the time went."""
    from omniopd.config import load_params
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
