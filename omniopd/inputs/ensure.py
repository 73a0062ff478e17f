"""The prompts and models of a seed, made if they are missing or were made with other settings."""

from collections.abc import Callable
from pathlib import Path

from omniopd.config import Params
from omniopd.data.layout import Layout
from omniopd.data.lock import one_at_a_time
from omniopd.data.receipts import valid_receipt
from omniopd.inputs.base import base, base_key
from omniopd.inputs.prepare import prepare, prepare_key


def make_prompts(params: Params, seed: int, layout: Layout) -> bool:
    """Make the prompts of a seed unless they are complete and of these settings. Returns whether they were made."""
    key = prepare_key(params, seed, layout)
    with one_at_a_time(layout.making(seed)):
        if _is_made(layout.made("prepare", seed), key):
            return False
        prepare(params, seed, layout)
    return True


def make_models(
    params: Params, seed: int, layout: Layout, *, on_step: Callable[[str, int, int], None]
) -> bool:
    """The same for the models of a seed. on_step gets the progress of training: role, step, number of steps."""
    key = base_key(params, seed, layout)
    with one_at_a_time(layout.making(seed)):
        if _is_made(layout.made("base", seed), key):
            return False
        base(params, seed, layout, on_step=on_step)
    return True


def _is_made(receipt: Path, key: str) -> bool:
    return valid_receipt(receipt, key=key, base=receipt.parent) is not None
