"""Which texts count as the same."""

import pytest

from omniopd.data.dedup import text_digest


@pytest.mark.parametrize(
    ("one", "other"),
    [("1 + 1 =", " 1 +\n1  ="), ("é", "e\u0301"), ("a\tb", "a b")],
)
def test_white_space_and_composition_make_no_difference(one: str, other: str):
    assert text_digest(one) == text_digest(other)


@pytest.mark.parametrize(("one", "other"), [("1+1=", "1-1="), ("Let X be x", "Let x be x"), ("a b", "ab")])
def test_signs_case_and_words_make_a_difference(one: str, other: str):
    assert text_digest(one) != text_digest(other)
