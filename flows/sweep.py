"""The sweep flow: one arm with one seed at every learning rate that params.yaml lists."""

from pathlib import Path

from prefect import flow

from flows.distill import distill
from omniopd.config import load_params
from omniopd.data.layout import Layout
from omniopd.stages.ledger import last_accuracy
from omniopd.stages.sweep import record_sweep, swept_lrs


@flow(name="sweep", flow_run_name="{arm}-{seed}", persist_result=False)
def sweep(arm: str, seed: int, params_file: Path = Path("params.yaml")) -> Path:
    """Distil at each learning rate, and record what each came to. Returns the record.

    Args:
        arm: one of `arms` in params.yaml.
        seed: one of `sweep.seeds`, whose prompts measure nothing else.
        params_file: the file of settings; results lie beside it.
    """
    params, layout = load_params(params_file), Layout(params_file.parent)
    accuracies = {}
    for lr in swept_lrs(params, arm):
        distill(arm=arm, seed=seed, params_file=params_file, swept_lr=lr)
        accuracies[lr] = last_accuracy(layout.sweep_run(arm, seed, lr).root)
    record_sweep(params, arm, seed, accuracies, layout)
    return layout.sweep(arm, seed)
