"""`python -m flows distill --arm omniopd --seed 0`: a flow in this process, on a running or an embedded server."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from omniopd.command import PARAMS_FILE, Arm, Overrides, ParamsFile, Seed, clock, run
from omniopd.data.layout import Layout

app = typer.Typer(
    help="The Prefect flows, and the server with their pages.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.command()
def distill(
    arm: Arm = None, seed: Seed = None, params: ParamsFile = PARAMS_FILE, overrides: Overrides = None
) -> None:
    """Distil one arm with one seed; resume where it stopped."""
    from omniopd.config import load_params, parsed, resolve, run_of, variant_of
    from omniopd.rounds.sweep import chosen_rate

    changes = parsed(overrides or ())
    loaded, layout = load_params(params, changes), Layout(params.parent)
    arm, seed = run_of(loaded, arm, seed, file=str(params))
    resolve(loaded, arm, seed, file=str(params))  # fails early on the most frequent mistakes
    chosen_rate(loaded, arm, layout)
    with _server_for_flows(params, changes, log=layout.run(arm, seed, variant_of(changes)).log):
        from flows.distill import distill as flow
        from flows.runtime.outcome import run_flow

        run_flow(flow, arm=arm, seed=seed, overrides=changes, params_file=params)
    clock(f"distill@{arm}-{seed}", params)


@app.command()
def sweep(
    arm: Arm = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="One of `sweep.seeds` in params.yaml (default: the first).")
    ] = None,
    params: ParamsFile = PARAMS_FILE,
) -> None:
    """Try the learning rates of a sweep on one arm with one seed; resume where it stopped."""
    from omniopd.config import load_params, resolve, run_of
    from omniopd.rounds.sweep import record_sweep, swept_lrs

    loaded, layout = load_params(params), Layout(params.parent)
    arm, seed = run_of(loaded, arm, loaded.sweep.seeds[0] if seed is None else seed, file=str(params))
    resolve(loaded, arm, seed, file=str(params))
    if swept_lrs(loaded, arm):
        with _server_for_flows(params, {}, log=layout.sweep_log(arm, seed)):
            from flows.runtime.outcome import run_flow
            from flows.sweep import sweep as flow

            run_flow(flow, arm=arm, seed=seed, params_file=params)
    else:
        record_sweep(loaded, arm, seed, {}, layout)
    clock(f"sweep@{arm}-{seed}", params)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to bind to.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 4200,
) -> None:
    """Start a Prefect server and a worker in the background, and deploy the flows of prefect.yaml."""
    from flows.runtime import service

    started = service.start(Path(), host=host, port=port)
    Console(soft_wrap=True).print(
        f"Prefect  {started['ui']}   (logs: .prefect/server.log, .prefect/worker.log)\n"
        "Start a run there, or: prefect deployment run 'distill/default' --param arm=omniopd\n"
        "make server-stop ends the server and the worker",
        highlight=False,
    )


@app.command()
def stop() -> None:
    """End the server and the worker that `serve` started in this directory."""
    from flows.runtime import service

    ended = service.stop(Path())
    typer.echo(f"ended: {', '.join(ended)}" if ended else "nothing that was started here is running")


@contextmanager
def _server_for_flows(params: Path, overrides: dict[str, object], *, log: Path) -> Iterator[None]:
    """A Prefect server to run flows on, with all settings checked and log lines in the file."""
    from flows.runtime.server import embedded_server, wait_until_ready
    from flows.runtime.service import project_state

    for name, value in project_state(params.parent).items():  # before Prefect is imported, which reads it
        os.environ.setdefault(name, value)
    logging.raiseExceptions = False  # lines that Prefect's server refuses are not for the screen
    with embedded_server(params.parent) as server:
        from flows.runtime.checks import checked

        checked(params, overrides)
        import flows.distill  # noqa: F401  # seconds, while the server starts
        from flows.runtime.logs import logged_to

        wait_until_ready(server)
        with logged_to(log):
            yield


if __name__ == "__main__":
    run(app)
