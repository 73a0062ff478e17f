"""The final answer of a text."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omniopd.grading.math.answers import final_answer, marked_answer


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
        # Boxes without an answer, whatever else the text has.
        (r"The answer is 5. \boxed{5", None),
        (r"\boxed{1 or \boxed{5}", None),
        (r"The answer is 5. \boxed{ }", None),
        # Several boxes: those joined by commas, "and" or "or" are one answer; else the last is.
        (r"The answers are \boxed{4} and \boxed{7}.", "4, 7"),
        (r"Roots: $\boxed{1}$, $\boxed{2}$, and $\boxed{3}$", "1, 2, 3"),
        (r"so \(p = \boxed{4}\) or \(p = \boxed{7}\)", "p = 4, p = 7"),
        (r"$\boxed{4}\text{ or }\boxed{7}$", "4, 7"),
        (r"b = \boxed{7}, a = \boxed{4}", "b = 7, a = 4"),
        (r"We get \boxed{4}, and then \boxed{7}", "7"),
        (r"First \boxed{4}. Hence finally \boxed{7}.", "7"),
        (r"It is \boxed{4}. Then, and only then, \boxed{7}", "7"),
        (r"\framebox{12}", "12"),
        (r"\framebox[2cm][c]{12}", "12"),
        # A box without an answer, in a remark.
        (r"So \boxed{7}. The answer is put within \boxed{}, as asked.", "7"),
        (r"So \boxed{7}. (In the form \boxed{\text{your answer}})", "7"),
        (r"So \boxed{7}. (In the form $\boxed{\ldots}$)", "7"),
        (r"The solutions are \boxed{\{\}}", r"\{\}"),
        # Thoughts.
        (r"<think>Is it \boxed{4}?</think>It is 7.", "7"),
        (r"Is it \boxed{4}? No.</think>\n\nThe answer is $7$.", "$7$"),
        (r"<thinking>4</thinking> so 7", "7"),
        (r"<think>It is \boxed{4}", None),
        (r"<think>4</think> It is 7. <think> Or \boxed{8}", None),
        (r"<think>\boxed{4}</think>", None),
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
        ("The answer is Dr. Who. He has 2 hearts.", "Dr. Who"),
        ("Answer: Train 7", "Train 7"),
        ("The answers are $f(x)=2x$ and $f(x)=-x$.", "$f(x)=2x$ and $f(x)=-x$"),
        ("The answer is that the volume is $36\\pi$.", "$36\\pi$"),
        ("The answer is **$12,5$**.", "$12,5$"),
        ("The answer is 5. I hope that this answer is correct.", "5"),
        ("# Final Answer\n\n$12$\n\nI used 2 lemmas.", "$12$"),
        ("**Final Answer**\n\n12\n\nThat took 3 steps.", "12"),
        ("#### Answer\n\nIt is 12 cm.\n\nI used 2 lemmas.", "12"),
        # The last formula, as a whole.
        (r"The volume is $36\pi$.", r"36\pi"),
        (r"Thus $m = 3^{4}$.", "m = 3^{4}"),
        (r"With 3 of them: \[ \frac{\sqrt{2}}{3}. \]", r"\frac{\sqrt{2}}{3}."),
        ("so $$x^2+1$$ holds", "x^2+1"),
        (r"\begin{align*} x &= 2+3 \\ &= 5 \end{align*}", "5"),
        (r"it is $ 6\pi $", r"6\pi"),
        (r"They are $2$, $3$ and $5$.", "$2$, $3$ and $5$"),
        ("We had $2$. So it is $3$", "3"),
        ("$x=2$ takes 7 steps", "7"),
        (r"It is \[ x = 5", "x = 5"),
        ("It costs $5 and $6 for 7 days", "7"),
        ("It costs $5 and $6", "$6"),
        ("From 3 we get $5", "$5"),
        # Formulas without delimiters are not cut either.
        (r"The volume is 36\pi.", r"36\pi"),
        ("Thus n = 2^10.", "2^10"),
        ("The area is 6 pi.", "6 pi"),
        ("The line is y = 3x + 7.", "3x + 7"),
        ("So it is 4 + x", "4 + x"),
        ("The point is (5, 6).", "(5, 6)"),
        ("It is 2 or 3.", "2 or 3"),
        (r"x = \frac{1}{2} + \sqrt{3}", r"\frac{1}{2} + \sqrt{3}"),
        ("so f(5)", "so f(5)"),
        # The last number or choice.
        ("The correct option is C.", "C"),
        ("So the right choice is **(B)**.", "(B)"),
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
def test_a_box_gives_the_content_of_its_braces_whatever_precedes_it(content: str, before: str):
    assert final_answer(f"{before} \\boxed{{{content}}} so.") == content


@pytest.mark.parametrize(
    "piece",
    [
        "1", "1,", "{", "\\boxed{", "\\boxed ", "answer ", "answer is 1. ", "answer    ", "#### 1\n", "-", " ", ". ",
        "<<", "\\frac{1", "$", "\\", "(A", "is ", "*", "or ", "\\[", "$x$ and ", "\\boxed{5}, ", "<think>",
        "answer is correct. ",
    ],
)  # fmt: skip
def test_a_text_of_ten_million_characters_is_read_in_a_second_or_two(piece: str):
    text = piece * (10_000_000 // len(piece))
    began = time.process_time()

    final_answer(text)

    assert time.process_time() - began < 3
