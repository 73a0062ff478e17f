"""`python -m flows distill --arm omniopd --seed 0`: a flow in this process, on the server that Prefect finds."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from omniopd.cli import PARAMS_FILE, Arm, ParamsFile, Seed, clock, run, warn

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def about() -> None:
    """The Prefect flows."""


@app.command()
def distill(arm: Arm, seed: Seed = 0, params: ParamsFile = PARAMS_FILE) -> None:
    """Distil one arm with one seed; go on where it stands."""
    from omniopd.config import load_params, resolve
    from omniopd.data.layout import Layout
    from omniopd.stages.sweep import chosen_rate

    loaded, layout = load_params(params), Layout(params.parent)
    resolve(loaded, arm, seed, file=str(params))  # the cheapest mistakes, before anything starts
    chosen_rate(loaded, arm, layout)
    with _ready(params, log=layout.run(arm, seed).log):
        from flows.distill import distill as flow

        flow(arm=arm, seed=seed, params_file=params)
    clock(f"distill@{arm}-{seed}", params)


@app.command()
def sweep(arm: Arm, seed: Seed = 100, params: ParamsFile = PARAMS_FILE) -> None:
    """Try the learning rates of a sweep on one arm with one seed; go on where it stands."""
    from omniopd.config import load_params, resolve
    from omniopd.data.layout import Layout
    from omniopd.stages.sweep import record_sweep, swept_lrs

    loaded, layout = load_params(params), Layout(params.parent)
    resolve(loaded, arm, seed, file=str(params))
    if swept_lrs(loaded, arm):
        with _ready(params, log=layout.sweep_log(arm, seed)):
            from flows.sweep import sweep as flow

            flow(arm=arm, seed=seed, params_file=params)
    else:
        record_sweep(loaded, arm, seed, {}, layout)
    clock(f"sweep@{arm}-{seed}", params)


@contextmanager
def _ready(params: Path, *, log: Path) -> Iterator[None]:
    """A server to run flows on, everything checked, and log lines in the file."""
    from flows.environment import use_project_state
    from flows.server import embedded_server, wait_until_ready

    use_project_state(params.parent)
    with embedded_server():
        from omniopd.stages.check import check

        warn(check(params)[1])
        importlib.import_module("flows.distill")  # seconds, while the server starts
        from flows.logs import logged_to

        wait_until_ready()
        with logged_to(log):
            yield


if __name__ == "__main__":
    run(app)
