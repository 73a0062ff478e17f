"""Which texts are the same, and the set that remembers them."""

import random

import pytest

from omniopd.data.dedup import Digests, text_digest


@pytest.mark.parametrize(
    ("one", "other"),
    [("1 + 1 =", " 1 +\n1  ="), ("é", "e\u0301"), ("a\tb", "a b")],
)
def test_white_space_and_composition_make_no_other_text(one: str, other: str):
    assert text_digest(one) == text_digest(other)


@pytest.mark.parametrize(("one", "other"), [("1+1=", "1-1="), ("Let X be x", "Let x be x"), ("a b", "ab")])
def test_signs_case_and_words_do(one: str, other: str):
    assert text_digest(one) != text_digest(other)


def test_digests_are_a_set():
    rng = random.Random(0)
    offered = [rng.randbytes(15) + bytes([i % 2]) for i in range(20_000)]
    offered += rng.sample(offered, 5_000)
    digests, oracle = Digests(), set()

    for digest in offered:
        assert digests.add(digest) is (digest not in oracle)
        oracle.add(digest)

    assert len(digests) == len(oracle) == 20_000
    assert all(digest in digests for digest in oracle)
    assert not any(rng.randbytes(16) in digests for _ in range(1000))


def test_digests_that_meet_in_one_place_are_kept_apart():
    digests = Digests()
    alike = [bytes(8) + bytes([0, 0, 0, 0, 0, 0, i // 256, i % 256]) for i in range(1, 900)]

    assert all(digests.add(digest) for digest in alike)
    assert all(digest in digests for digest in alike)
