"""The sweep flow: one arm with one seed at every learning rate that params.yaml lists."""

from pathlib import Path

from prefect import flow

from flows.distill import PARAMS_FILE, make_inputs, one_run
from flows.runtime.checks import checked
from flows.runtime.logs import logged_to
from flows.tasks import called
from omniopd.config import Params
from omniopd.data.layout import Layout
from omniopd.rounds.ledger import last_accuracy
from omniopd.rounds.sweep import record_sweep, swept_lrs


@flow(name="sweep", flow_run_name="{arm}-{seed}", persist_result=False)
def sweep(arm: str, seed: int, params_file: Path = PARAMS_FILE) -> Path:
    """Distil at each learning rate, and record the accuracy of each. Returns the record.

    Args:
        arm: One of `arms` in params.yaml.
        seed: One of `sweep.seeds`; its prompts are used for nothing else.
        params_file: The settings; results are written to its directory.
    """
    params, layout = checked(params_file), Layout(params_file.parent)
    accuracies = {}
    with logged_to(layout.sweep_log(arm, seed)):
        make_inputs(params, seed, layout)
        for lr in swept_lrs(params, arm):
            called(try_rate)(params, arm, seed, lr, layout.root)
            accuracies[lr] = last_accuracy(layout.sweep_run(arm, seed, lr).root)
    record_sweep(params, arm, seed, accuracies, layout)
    return layout.sweep(arm, seed)


@flow(
    name="try a rate", flow_run_name="{arm}-{seed} at {lr}", persist_result=False, validate_parameters=False
)
def try_rate(params: Params, arm: str, seed: int, lr: float, root: Path) -> Path:
    """One learning rate of a sweep."""
    layout = Layout(root)
    return one_run(params, arm, seed, layout, layout.sweep_run(arm, seed, lr), swept_lr=lr)
