"""`python -m flows distill --arm omniopd --seed 0`: a flow in this process, on the server that it finds or starts."""

import importlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from omniopd.command import PARAMS_FILE, Arm, Overrides, ParamsFile, Seed, clock, run

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def about() -> None:
    """The Prefect flows, and the server of their pages."""


@app.command()
def distill(arm: Arm, seed: Seed = 0, params: ParamsFile = PARAMS_FILE, overrides: Overrides = None) -> None:
    """Distil one arm with one seed; go on where it stands."""
    from omniopd.config import load_params, parsed, resolve, variant_of
    from omniopd.data.layout import Layout
    from omniopd.rounds.sweep import chosen_rate

    own = parsed(overrides or ())
    loaded, layout = load_params(params, own), Layout(params.parent)
    resolve(loaded, arm, seed, file=str(params))  # the cheapest mistakes, before anything starts
    chosen_rate(loaded, arm, layout)
    with _ready(params, own, log=layout.run(arm, seed, variant_of(own)).log):
        from flows.distill import distill as flow
        from flows.runtime.outcome import run_flow

        run_flow(flow, arm=arm, seed=seed, overrides=own, params_file=params)
    clock(f"distill@{arm}-{seed}", params)


@app.command()
def sweep(arm: Arm, seed: Seed = 100, params: ParamsFile = PARAMS_FILE) -> None:
    """Try the learning rates of a sweep on one arm with one seed; go on where it stands."""
    from omniopd.config import load_params, resolve
    from omniopd.data.layout import Layout
    from omniopd.rounds.sweep import record_sweep, swept_lrs

    loaded, layout = load_params(params), Layout(params.parent)
    resolve(loaded, arm, seed, file=str(params))
    if swept_lrs(loaded, arm):
        with _ready(params, {}, log=layout.sweep_log(arm, seed)):
            from flows.runtime.outcome import run_flow
            from flows.sweep import sweep as flow

            run_flow(flow, arm=arm, seed=seed, params_file=params)
    else:
        record_sweep(loaded, arm, seed, {}, layout)
    clock(f"sweep@{arm}-{seed}", params)


@app.command()
def serve(
    host: Annotated[
        str, typer.Option(help="Whom it listens to; without this, this machine alone.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 4200,
) -> None:
    """Start a Prefect server and a worker in the background, and deploy the flows of prefect.yaml."""
    from flows.runtime import service

    started = service.start(Path(), host=host, port=port)
    console = Console(soft_wrap=True)
    console.print(
        f"Prefect  {started['ui']}   (logs: .prefect/server.log, .prefect/worker.log)", highlight=False
    )
    console.print(
        "Start a run there, or: prefect deployment run 'distill/default' --param arm=omniopd", highlight=False
    )
    console.print("make server-stop ends the server and the worker", highlight=False)


@app.command()
def stop() -> None:
    """End the server and the worker that `serve` started in this folder."""
    from flows.runtime import service

    ended = service.stop(Path())
    typer.echo(f"ended: {', '.join(ended)}" if ended else "nothing ran that was started here")


@contextmanager
def _ready(params: Path, overrides: dict[str, object], *, log: Path) -> Iterator[None]:
    """A server to run flows on, everything checked, and log lines in the file."""
    from flows.runtime.environment import use_project_state
    from flows.runtime.server import embedded_server, wait_until_ready

    use_project_state(params.parent)
    logging.raiseExceptions = False  # a log line that Prefect's server refuses is no line for the screen
    with embedded_server(params.parent) as server:
        from flows.runtime.checks import checked

        checked(params, overrides)
        importlib.import_module("flows.distill")  # seconds, while the server starts
        from flows.runtime.logs import logged_to

        wait_until_ready(server)
        with logged_to(log):
            yield


if __name__ == "__main__":
    run(app)
