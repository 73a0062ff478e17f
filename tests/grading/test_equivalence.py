"""Which answers are the reference."""

import random
import time
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pairs import EQUAL, UNEQUAL

from omniopd.grading.math.equivalence import compare
from omniopd.grading.math.notation import MAX_CHARS
from omniopd.grading.math.quantities import MIN_DIGITS
from omniopd.grading.math.symbolic import same_expression


def _no_algebra(answer: str, reference: str) -> bool:
    raise AssertionError(f"algebra was asked whether {answer!r} is {reference!r}")


def _by_form(answer: str, reference: str) -> bool:
    return compare(answer, reference, _no_algebra)


@pytest.mark.parametrize(("answer", "reference"), EQUAL)
def test_one_answer_in_two_ways_of_writing_is_right(answer: str, reference: str):
    assert compare(answer, reference, same_expression)


@pytest.mark.parametrize(("answer", "reference"), UNEQUAL)
def test_another_answer_is_wrong_and_so_is_one_that_only_contains_the_reference(answer: str, reference: str):
    assert not compare(answer, reference, same_expression)


@given(st.text(min_size=1, max_size=40).filter(str.strip))
def test_every_answer_is_itself(text: str):
    assert _by_form(text, text)
    assert _by_form(f"  {text}\n", text)


integers = st.integers(-(10**12), 10**12)
WRITTEN = [
    "{0}", "{0:,}", "{0}.0", "{0:,}.00", "${0}$", "\\({0}\\)", "{0}.", "x = {0}", "{0} apples", "{0}\\text{{ cm}}",
    "\\text{{{0}}}", "${0}", "\\${0:,}", "{0} dollars", "{0}%", "{0}\\%", "{0}^\\circ", "**{0}**", "\\frac{{{0}}}{{1}}",
    "{0}/1", "{{{0}}}", "( {0} )", "\\{{{0}\\}}", "{0}e0", "{0} \\times 10^0",
]  # fmt: skip


@settings(deadline=None)
@given(integers, st.sampled_from(WRITTEN), st.sampled_from(["{0}", "{0:,}", "{0}.0"]))
def test_an_integer_is_itself_in_every_form(number: int, form: str, reference: str):
    answer = form.format(number).replace("$-", "-$").replace("\\-$", "-\\$")
    assert _by_form(answer, reference.format(number)), answer


@settings(deadline=None)
@given(integers, integers, st.sampled_from(WRITTEN), st.sampled_from(["{0}", "{0:,}", "{0}.0"]))
def test_different_integers_are_different_in_every_form(one: int, other: int, form: str, reference: str):
    is_share = other == 0 and "%" in form  # a percentage for a reference below 1 is a share
    assert is_share or _by_form(form.format(one), reference.format(other)) == (one == other)


fractions = st.fractions(-1000, 1000, max_denominator=1000)


def _written(value: Fraction) -> list[str]:
    top, bottom = value.numerator, value.denominator
    sign, whole, rest = "-" if value < 0 else "", abs(top) // bottom, abs(top) % bottom
    texts = [f"{top}/{bottom}", rf"\frac{{{top}}}{{{bottom}}}", rf"{sign}\dfrac{{{abs(top)}}}{{{bottom}}}"]
    texts += [f"{3 * top}/{3 * bottom}", rf"x = \tfrac{{{top}}}{{{bottom}}}"]
    if whole and rest:
        texts += [rf"{sign}{whole}\frac{{{rest}}}{{{bottom}}}", f"{sign}{whole} {rest}/{bottom}"]
    return texts


@settings(deadline=None)
@given(fractions, fractions, st.randoms(use_true_random=False))
def test_fractions_are_equal_if_and_only_if_their_values_are(
    one: Fraction, other: Fraction, rng: random.Random
):
    assert _by_form(rng.choice(_written(one)), rng.choice(_written(one)))
    assert _by_form(rng.choice(_written(one)), rng.choice(_written(other))) == (one == other)


@settings(deadline=None)
@given(st.fractions(1, 100, max_denominator=999), st.integers(1, 12))
def test_a_decimal_stands_for_a_fraction_if_it_is_rounded_from_it_to_enough_digits(
    value: Fraction, places: int
):
    text = f"{float(value):.{places}f}"
    num_digits = len(text.replace(".", "").lstrip("0"))
    expected = Fraction(text) == value or (
        not _ends(value)
        and num_digits >= MIN_DIGITS
        and abs(Fraction(text) - value) * 10**places <= Fraction(1, 2)
    )
    assert _by_form(text, f"{value.numerator}/{value.denominator}") == expected


def _ends(value: Fraction) -> bool:
    return 10**12 % value.denominator == 0


@settings(deadline=None)
@given(st.lists(integers, min_size=2, max_size=6, unique=True), st.randoms(use_true_random=False))
def test_order_means_nothing_in_a_set_and_everything_in_a_tuple(numbers: list[int], rng: random.Random):
    shuffled = rng.sample(numbers, len(numbers))
    one, other = (", ".join(map(str, items)) for items in (numbers, shuffled))

    assert _by_form(rf"\{{{one}\}}", rf"\{{{other}\}}")
    assert _by_form(one, rf"\{{{other}\}}")
    assert _by_form(f"({one})", f"({other})") == (numbers == shuffled)
    assert not _by_form(f"{one}, {max(numbers) + 1}", other)
    assert not _by_form(one, str(numbers[0]))


@pytest.mark.parametrize(
    ("answer", "asked"),
    [
        ("72", 0), ("71", 0), ("48+24", 0), ("1 or 2", 0), (r"\int_0^1 x dx", 0), ("x + 1", 0), (r"9^{9^{9^9}}", 0),
        ("((((9!)!)!)!)!", 0), (r"\frac{1}{2}", 0), (r"\sqrt{5184}", 1), ("9!", 1),
    ],
)  # fmt: skip
def test_algebra_is_asked_only_of_finished_answers_that_form_does_not_decide(answer: str, asked: int):
    questions: list[tuple[str, str]] = []
    compare(answer, "72", lambda *question: bool(questions.append(question)))

    assert len(questions) == asked


PIECES = [
    "{", "}", "(", ")", "[", "]", "\\frac", "\\sqrt", "\\text{", "^", "_", "1", "a", "aa ", " ", ",", "\\pm", "-", "+",
    "<", ";", "\\{", "\\}", "\\\\", "&", "\\begin{pmatrix}", "\\end{pmatrix}", "|", ":", "/", "or ", "and ", "$", "%",
    ".", "{1}", "\\cup", "\\infty", "x", "\\langle", "1,000", "√(", "sqrt(", "\\overline{", "\\le", "\\boxed{", "\0",
    "*", "'", "é", "=", "\u202e",
]  # fmt: skip


def test_nothing_that_is_written_takes_long_or_fails():
    rng = random.Random(0)
    texts = ["".join(rng.choices(PIECES, k=rng.randint(1, 250)))[:MAX_CHARS] for _ in range(100)]
    texts += [(piece * MAX_CHARS)[: MAX_CHARS - 1] + "!" for piece in PIECES]
    for text, other in pairwise(texts):
        began = time.process_time()
        compare(text, other, lambda *_: False)
        compare(other, "5", lambda *_: False)
        assert time.process_time() - began < 1, text


@pytest.mark.parametrize(
    "text", ["1" * 10**7, "{" * 10**7, "5 " * 10**6, "(" * 10**6 + "5" + ")" * 10**6, "9^{" * 10**6]
)
def test_an_answer_of_a_million_characters_is_wrong_at_once(text: str):
    began = time.process_time()

    assert not compare(text, "5", same_expression)
    assert compare(text, text, same_expression)
    assert time.process_time() - began < 1
