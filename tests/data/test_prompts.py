"""Which prompts a round asks."""

import pytest

from omniopd.data.prompts import Prompt, prompts_of_round

PROMPTS = [Prompt(f"p{i}", f"{i}") for i in range(10)]


def _ids(round_: int, count: int = 4, seed: int = 0) -> list[str]:
    return [prompt.id for prompt in prompts_of_round(PROMPTS, round_, count=count, seed=seed)]


def test_every_prompt_is_asked_once_an_epoch_across_rounds_that_straddle_it():
    asked = [id_ for round_ in range(10) for id_ in _ids(round_)]
    epochs = [asked[first : first + 10] for first in range(0, 40, 10)]
    assert all(sorted(epoch) == sorted(prompt.id for prompt in PROMPTS) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4  # each in an order of its own


def test_a_round_is_a_function_of_its_number_and_the_seed():
    assert _ids(7) == _ids(7)
    assert _ids(7) != _ids(7, seed=1)


@pytest.mark.parametrize("count", [25, 10, 1])
def test_a_round_may_be_longer_than_an_epoch(count: int):
    assert len(_ids(3, count=count)) == count
