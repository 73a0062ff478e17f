"""What counts as an overlap, and what does not."""

import pytest

from omniopd.data.decontaminate import MAX_ITEMS, EvaluationItems, Overlap

ITEM = "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May."


def items(*texts: str, ngram: int = 5) -> EvaluationItems:
    evaluation = EvaluationItems(ngram)
    for number, text in enumerate(texts, start=1):
        evaluation.add(f"test.jsonl, row {number}", text)
    return evaluation


def test_the_item_and_the_shared_words_are_named():
    prompt = "In spring she sold\nHALF as many; clips, in may... How many?"

    assert items("1+1=", ITEM).overlap(prompt) == Overlap(
        "test.jsonl, row 2", "she sold half as many"
    )  # fmt: skip


@pytest.mark.parametrize(("num_shared", "overlaps"), [(4, False), (5, True)])
def test_n_words_in_a_row_are_needed(num_shared: int, overlaps: bool):
    prompt = " ".join(["x", *ITEM.split()[:num_shared], "y", "z", "u"])

    assert (items(ITEM).overlap(prompt) is not None) is overlaps


def test_words_in_another_order_are_no_overlap():
    assert items(ITEM).overlap(" ".join(reversed(ITEM.split()))) is None


@pytest.mark.parametrize(
    ("prompt", "overlaps"), [("1 + 1 =", True), ("1-1=", False), ("1+1=?", True), ("1+1=2", False)]
)
def test_short_prompts_are_compared_as_a_whole_with_their_signs(prompt: str, overlaps: bool):
    assert (items("1+1=").overlap(prompt) is not None) is overlaps


def test_words_that_many_items_share_are_how_questions_are_put():
    frame = "Solve the following problem step by step"
    texts = [f"{frame} number {i}" for i in range(MAX_ITEMS + 1)]

    assert items(*texts[:MAX_ITEMS]).overlap(f"{frame} if you can") is not None
    assert items(*texts).overlap(f"{frame} if you can") is None
    assert items(*texts).overlap(texts[3]) is not None  # by its last words, which it has alone


def test_an_item_that_is_repeated_counts_once():
    assert items(*[ITEM] * (MAX_ITEMS + 5)).overlap(ITEM) is not None
