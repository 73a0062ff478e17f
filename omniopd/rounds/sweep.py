"""sweep: which learning rate an arm takes, decided on seeds and prompts that measure nothing else."""

from collections.abc import Mapping
from typing import Any

from omniopd.config import Params
from omniopd.data.layout import Layout
from omniopd.data.store import read_json, write_json
from omniopd.errors import ConfigError, DataError


def swept_lrs(params: Params, arm: str) -> list[float]:
    """The learning rates that the arm tries; none where its lr_of does not name it."""
    return params.sweep.lrs if params.is_swept(arm) else []


def record_sweep(
    params: Params, arm: str, seed: int, accuracies: Mapping[float, float], layout: Layout
) -> None:
    """Write what each learning rate came to: greedy accuracy on the validation prompts at the end of its run."""
    tried = [{"lr": lr, "greedy": accuracies[lr]} for lr in swept_lrs(params, arm)]
    write_json(layout.sweep(arm, seed), {"arm": arm, "seed": seed, "tried": tried})


def choose_rates(params: Params, layout: Layout) -> tuple[dict[str, float | None], list[str]]:
    """Write learning_rates.json, and return (what it holds, warnings).

    An arm takes the rate whose accuracy is best on average over the seeds of the sweep, the lower of two equal
    ones; an arm with lr_of takes that of the arm named, and one without has null.

    Raises:
        DataError: a sweep that has not been run, or was run with other learning rates.
    """
    best, warnings = {}, []
    for arm in params.arms:
        if lrs := swept_lrs(params, arm):
            means = _means(params, arm, lrs, layout)
            best[arm] = max(lrs, key=lambda lr: (means[lr], -lr))
            if best[arm] in (lrs[0], lrs[-1]) and len(lrs) > 2:
                warnings.append(
                    f"{arm}: the best learning rate, {best[arm]:g}, lies at the edge of the sweep; "
                    "one beyond it may be better"
                )
    rates = {arm: best[own.lr_of] if own.lr_of else None for arm, own in params.every_arm.items()}
    write_json(layout.learning_rates, rates)
    return rates, warnings


def chosen_rate(params: Params, arm: str, layout: Layout) -> float | None:
    """The learning rate that a sweep chose for the arm; None where it has no lr_of.

    Raises:
        ConfigError: the sweep has not been run.
    """
    if arm not in params.every_arm or params.every_arm[arm].lr_of is None:
        return None
    rates: dict[str, Any] = {}
    if layout.learning_rates.exists():
        rates = read_json(layout.learning_rates, like=dict[str, float | None])
    if rates.get(arm) is None:
        raise ConfigError(
            f"{layout.learning_rates}: has no learning rate for the arm {arm}; run `dvc repro rates`, "
            "or `omniopd rates` if DVC says that nothing changed, or give the arm train.lr in place of lr_of in "
            "params.yaml"
        )
    return rates[arm]


def _means(params: Params, arm: str, lrs: list[float], layout: Layout) -> dict[float, float]:
    accuracies: dict[float, list[float]] = {lr: [] for lr in lrs}
    for seed in params.sweep.seeds:
        path = layout.sweep(arm, seed)
        made_by = f"python -m flows sweep --arm {arm} --seed {seed}"
        tried = {entry["lr"]: entry["greedy"] for entry in read_json(path, "tried", made_by=made_by)["tried"]}
        if set(tried) != set(lrs):
            raise DataError(
                f"{path}: tried other learning rates than params.yaml lists; run `dvc repro rates`"
            )
        for lr in lrs:
            accuracies[lr].append(tried[lr])
    return {lr: sum(own) / len(own) for lr, own in accuracies.items()}
