"""The learning rate of an arm, chosen by a sweep on seeds and prompts that are used for nothing else."""

from collections.abc import Mapping
from typing import Any

from omniopd.config import Params
from omniopd.data.layout import Layout
from omniopd.data.store import read_json, write_json
from omniopd.errors import ConfigError, DataError


def swept_lrs(params: Params, arm: str) -> list[float]:
    """The learning rates that the arm tries; empty unless its lr_of names itself."""
    return params.sweep.lrs if params.is_swept(arm) else []


def record_sweep(
    params: Params, arm: str, seed: int, accuracies: Mapping[float, float], layout: Layout
) -> None:
    """Write the greedy validation accuracy at the end of the run of each learning rate."""
    tried = [{"lr": lr, "greedy": accuracies[lr]} for lr in swept_lrs(params, arm)]
    write_json(layout.sweep(arm, seed), {"arm": arm, "seed": seed, "tried": tried})


def choose_rates(params: Params, layout: Layout) -> tuple[dict[str, float | None], list[str]]:
    """Write learning_rates.json; return (its content, warnings).

    An arm takes the rate with the best mean accuracy over the seeds of the sweep, and the lower of two equal ones.
    `lr_of` takes the rate of the arm that it names; an arm without it has null.

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
                    f"{arm}: the best learning rate, {best[arm]:g}, is at the edge of the sweep; "
                    "a rate beyond it may be better"
                )
    rates = {
        arm: best[settings.lr_of] if settings.lr_of else None for arm, settings in params.every_arm.items()
    }
    write_json(layout.learning_rates, rates)
    return rates, warnings


def chosen_rate(params: Params, arm: str, layout: Layout) -> float | None:
    """The learning rate that a sweep chose for the arm; None if it has no lr_of.

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
    return {lr: sum(values) / len(values) for lr, values in accuracies.items()}
