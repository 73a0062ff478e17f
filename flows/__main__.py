"""`python -m flows distill --arm omniopd --seed 0`: a flow in this process, on the server that Prefect finds."""

import typer

from omniopd.cli import PARAMS_FILE, Arm, ParamsFile, Seed, clock, run, warn

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def about() -> None:
    """The Prefect flows."""


@app.command()
def distill(arm: Arm, seed: Seed = 0, params: ParamsFile = PARAMS_FILE) -> None:
    """Distil one arm with one seed; go on where it stands."""
    from flows.environment import use_project_state
    from flows.server import embedded_server, wait_until_ready
    from omniopd.config import load_params, resolve
    from omniopd.data.layout import Layout

    resolve(load_params(params), arm, seed, file=str(params))  # the cheapest mistakes, before anything starts
    use_project_state(params.parent)
    with embedded_server():
        from omniopd.stages.check import check

        warn(check(params)[1])
        from flows.distill import distill as flow
        from flows.logs import logged_to

        wait_until_ready()
        with logged_to(Layout(params.parent).run(arm, seed).log):
            flow(arm=arm, seed=seed, params_file=params)
    clock(f"distill@{arm}-{seed}", params)


if __name__ == "__main__":
    run(app)
