"""Where the final answer of a text stands."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omniopd.evaluation.answers import final_answer, marked_answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        # Boxes.
        (r"So it is \boxed{5}.", "5"),
        (r"First \boxed{4}, no: \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\boxed{7}}", "7"),
        (r"\boxed{1 or 2 or \boxed{5}}", r"1 or 2 or \boxed{5}"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed{\text{a brace \} of it}}", r"\text{a brace \} of it}"),
        (r"\fbox{3}", "3"),
        (r"\boxed 5", "5"),
        (r"\\boxed{6}", "6"),
        (r"\boxed{5} #### 6. The answer is 7.", "5"),
        # Boxes that give none, whatever else stands there.
        (r"The answer is 5. \boxed{5", None),
        (r"\boxed{1 or \boxed{5}", None),
        (r"The answer is 5. \boxed{ }", None),
        # Lines that are marked.
        ("9 * 2 = <<9*2=18>>18\n#### 18", "18"),
        ("#### 17\n#### 1,080  \n", "1,080"),
        ("The answer is 3.\n#### -4", "-4"),
        # Sentences.
        ("The answer is 5.", "5"),
        ("The answer is 3.5.", "3.5"),
        ("The final answer is $\\frac{1}{2}$. I hope it is correct.", "$\\frac{1}{2}$"),
        ("The answer is 4. No, the answer is 5", "5"),
        ("The answer is 3.\nThen 9 of 12 remain.", "3"),
        ("**Answer:** 42", "42"),
        ("**Final Answer**\n\n42", "42"),
        ("ANSWER: (B) Paris", "(B) Paris"),
        ("The answer is:\n\n$$\n\\frac{1}{2}\n$$\nas said.", r"\frac{1}{2}"),
        ("The answer to the question is 7!", "7"),
        ("answer = x + 1", "x + 1"),
        ("The answers are 1 and 2.", "1 and 2"),
        ("The answer is <<8=8>>8.", "8"),
        # Of sentences of words with one number, that; but of none that leaves open which.
        ("The answer is that she has 5 apples left.", "5"),
        ("The answer is 1 or 2 or 3.", "1 or 2 or 3"),
        ("The answer is not 5", "not 5"),
        ("The answer is that there are more than 5.", "that there are more than 5"),
        # The last number or choice.
        ("She has 3, then 3.5 litres", "3.5"),
        ("It costs $1,080.", "$1,080"),
        ("which is about 50%", "50%"),
        ("so -5", "-5"),
        ("10-5", "5"),
        ("3/4 of it", "3/4"),
        (r"\frac{3}{4} of it", r"\frac{3}{4}"),
        ("(A) 3 (B) 4. So (B)", "(B)"),
        ("By (A), it is 7", "7"),
        ("1, 2, 3", "3"),
        # Nothing.
        ("", None),
        ("I do not know.", None),
        ("the 3rd", None),
        ("1,2,3", None),
        ("#### ", None),
    ],
)
def test_the_answer_is_what_a_box_a_mark_a_sentence_or_the_last_number_gives(text: str, answer: str | None):
    assert final_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("x^2 + 1", "x^2 + 1"),
        (" 1,080\n", "1,080"),
        ("9 * 2 = 18\n#### 18", "18"),
        (r"Then $x = \boxed{2}$.", "2"),
        (r"\boxed{2", ""),
    ],
)
def test_a_reference_is_its_whole_text_unless_an_answer_is_marked_in_it(text: str, answer: str):
    assert marked_answer(text) == answer


balanced = st.recursive(
    st.text(st.characters(exclude_characters="{}\\", exclude_categories=["Cs"]), min_size=1, max_size=8),
    lambda inner: st.lists(inner, min_size=1, max_size=3).map(lambda parts: "a{" + "}b{".join(parts) + "}"),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(balanced.map(str.strip).filter(bool), st.text("ab{}. $", max_size=30))
def test_a_box_gives_what_its_braces_hold_whatever_stands_before_it(content: str, before: str):
    assert final_answer(f"{before} \\boxed{{{content}}} so.") == content


@pytest.mark.parametrize(
    "piece",
    [
        "1", "1,", "{", "\\boxed{", "\\boxed ", "answer ", "answer is 1. ", "answer    ", "#### 1\n", "-", " ", ". ",
        "<<", "\\frac{1", "$", "\\", "(A", "is ", "*", "or ",
    ],
)  # fmt: skip
def test_a_text_of_ten_million_characters_is_read_in_a_second_or_two(piece: str):
    text = piece * (10_000_000 // len(piece))
    began = time.process_time()

    final_answer(text)

    assert time.process_time() - began < 3
