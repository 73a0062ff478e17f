"""The prompts and models of a seed, made where a run finds none or finds those of other settings."""

from collections.abc import Callable

from omniopd.config import Params
from omniopd.data.layout import Layout
from omniopd.data.lock import one_at_a_time
from omniopd.data.receipts import valid_receipt
from omniopd.inputs.base import base, base_key
from omniopd.inputs.prepare import prepare, prepare_key

Make = Callable[[], object]


def make_prompts(params: Params, seed: int, layout: Layout) -> bool:
    """Make the prompts of a seed unless they are there, whole and of these settings. Returns whether they were made."""
    return _unless_made(
        "prepare", prepare_key(params, seed, layout), seed, layout, lambda: prepare(params, seed, layout)
    )


def make_models(
    params: Params, seed: int, layout: Layout, *, on_step: Callable[[str, int, int], None]
) -> bool:
    """Make or find the models of a seed, likewise. on_step is told of training: role, step, number of steps."""
    return _unless_made(
        "base", base_key(params, seed, layout), seed, layout,
        lambda: base(params, seed, layout, on_step=on_step),
    )  # fmt: skip


def _unless_made(stage: str, key: str, seed: int, layout: Layout, make: Make) -> bool:
    receipt = layout.made(stage, seed)
    with one_at_a_time(layout.making(seed)):
        if valid_receipt(receipt, key=key, base=receipt.parent) is not None:
            return False
        make()
    return True
