"""Grades of responses to mathematical problems."""

import json
import random
from pathlib import Path

import pytest

from omniopd.grading.grade import Grade
from omniopd.grading.math import grader as math_grading
from omniopd.grading.math.grader import MathCase, grade_math


@pytest.mark.parametrize(
    ("case", "grade"),
    [
        (MathCase(r"9 + 9 is \boxed{18}.", "18"), Grade(is_right=True, answer="18")),
        (MathCase("She pays 18 dollars.", "$18.00"), Grade(is_right=True, answer="18")),
        (MathCase("The answer is 17.", "18"), Grade(is_right=False, answer="17", reason="another answer")),
        (MathCase("I do not know.", "18"), Grade(is_right=False, answer=None, reason="no answer")),
        (
            MathCase(r"\boxed{17 or 18}", "18"),
            Grade(is_right=False, answer="17 or 18", reason="another answer"),
        ),
        (MathCase(r"\boxed{18", "18"), Grade(is_right=False, answer=None, reason="no answer")),
        (
            MathCase(r"\boxed{18}. And", "18", finished=False),
            Grade(is_right=False, answer="18", reason="cut at the limit"),
        ),
        (
            MathCase("Well", "18", finished=False),
            Grade(is_right=False, answer=None, reason="cut at the limit"),
        ),
        (MathCase("#### 18", "9 * 2 = 18\n#### 18"), Grade(is_right=True, answer="18")),
        (MathCase(r"\boxed{\frac12}", r"Then $x = \boxed{0.5}$."), Grade(is_right=True, answer=r"\frac12")),
        (MathCase(r"\boxed{18}", ""), Grade(is_right=False, answer="18", reason="another answer")),
    ],
)
def test_a_response_is_right_if_it_ends_with_the_reference(case: MathCase, grade: Grade):
    assert grade_math([case]) == [grade]


@pytest.mark.parametrize(
    ("response", "reference", "is_right"),
    [
        ("The area is $6\\pi$.", "6", False),
        ("Hence $n=2^{10}$.", "2", False),
        ("Hence $n=2^{10}$.", "1024", True),
        ("So $x+5$.", "5", False),
        ("We get $\\frac{3}{4}$", "3/4", True),
        ("We get $\\frac{3}{4}$", "4", False),
        ("So it is $(3,4)$.", "4", False),
        ("They are $2$ and $3$.", "3", False),
        ("They are $2$ and $3$.", "2,3", True),
        ("The area is 6\\pi.", "6", False),
        ("So 2^10.", "2", False),
        ("So n = 5x.", "5", False),
        ("y = 3x + 7", "7", False),
        ("It is 2 or 3.", "3", False),
        ("She has 12 apples.", "12", True),
        ("She runs 5 km/h.", "5", True),
        ("It costs $5 and $6, in all $11.", "11", True),
        ("So the total is \\$12.", "12", True),
        ("\\boxed{5} or \\boxed{6}", "6", False),
        ("\\boxed{5} or \\boxed{6}", "5,6", True),
        ("First \\boxed{5} and so finally \\boxed{6}.", "6", True),
        ("First \\boxed{5} and so finally \\boxed{6}.", "5,6", False),
        ("a = \\boxed{2}, b = \\boxed{3}", "a=2,b=3", True),
        ("b = \\boxed{2}, a = \\boxed{3}", "a=2,b=3", False),
        ("b = \\boxed{3}, a = \\boxed{2}", "(2,3)", False),
        ("\\boxed{6}. I wrote \\boxed{}.", "6", True),
        ("\\boxed{}", "", False),
        ("\\fbox{7}", "7", True),
        ("\\framebox{7}", "8", False),
        ("<think>\\boxed{6}</think> The answer is 5.", "6", False),
        ("<think>\\boxed{6}", "6", False),
        ("\\boxed{6}</think>", "6", False),
        ("\\boxed{5}</think>\\boxed{6}", "6", True),
        ("<thinking>a</thinking>**Answer: 6**", "6", True),
        ("<think>a</think>b<think>\\boxed{6}", "6", False),
        ("Final Answer: The final answer is $6\\pi$. I hope it is correct.", "6\\pi", True),
        ("Final Answer: The final answer is $6\\pi$. I hope it is correct.", "6", False),
        ("**Final Answer**\n\n$x=2$\n\nThis took 3 steps.", "2", True),
        ("**Final Answer**\n\n12\n\nThis took 3 steps.", "3", False),
        ("### Final Answer\n\\[ \\frac{1}{2} \\]", "0.5", True),
        ("The answer is 5, because 2+3=5.", "5", True),
        ("The answer is $5$, not $6$.", "5", False),
        ("The answer is between 5 and 7.", "7", False),
        ("The answers are $x=2$ and $x=3$.", "2,3", True),
        ("The answers are $x=2$ and $x=3$.", "3", False),
        ("Therefore, the answer is option C.", "C", True),
        ("Therefore, the answer is option C.", "B", False),
        ("The answer is not 5.", "5", False),
        ("\\[ x = 5 \\] or \\[ x = 6 \\]", "6", False),
        ("so $x=5$ or $x=6$", "5,6", True),
        ("The point is (5, 6).", "6", False),
        ("The point is (5, 6).", "(5,6)", True),
        ("Thus f(5).", "5", False),
        ("\\begin{align} x &= 2+3\\\\ &= 5\\end{align}", "5", True),
        ("The price is $5.", "5", True),
        ("#### Step 2\nThe answer is 7.", "7", True),
        ("so 5%", "5", True),
        ("so 3 \\times 10^8", "10", False),
        ("so 3 × 10^8", "3", False),
        ("so 2√3", "2", False),
        ("so 5i", "5", False),
        ("so e^2", "2", False),
        ("\\boxed{5}, \\boxed{5}", "5", False),
    ],
)
def test_the_whole_answer_of_a_response_counts(response: str, reference: str, is_right: bool):
    assert grade_math([MathCase(response, reference)])[0].is_right == is_right


def test_grades_come_in_the_order_of_their_cases_whoever_decides_them():
    answers = [r"\sqrt{16}", "4", "5", r"2^{2}", r"\sqrt{17}", "four"]
    cases = [MathCase(rf"\boxed{{{answer}}}", "4") for answer in answers]
    rng = random.Random(0)
    shuffled = rng.sample(cases * 3, 18)
    right = {rf"\boxed{{{answer}}}" for answer in (r"\sqrt{16}", "4", r"2^{2}")}

    assert [grade.is_right for grade in grade_math(shuffled, num_processes=2)] == [
        case.response in right for case in shuffled
    ]


def test_nothing_is_graded_where_there_is_nothing():
    assert grade_math([]) == []


def test_what_takes_too_long_is_wrong_and_the_rest_is_graded(monkeypatch):
    def compared(answer: str, reference: str, *, timeout_s: float) -> bool:
        assert (reference, timeout_s) == ("2", 0.25)
        if answer == "9!":
            raise TimeoutError
        return True

    monkeypatch.setattr(math_grading, "same_expression", compared)
    cases = [MathCase(rf"\boxed{{{answer}}}", "2") for answer in ("9!", "2!", "2")]

    assert [(grade.is_right, grade.reason) for grade in grade_math(cases, timeout_s=0.25)] == [
        (False, "took too long"),
        (True, ""),
        (True, ""),
    ]


def test_equal_pairs_are_compared_once(monkeypatch):
    asked: list[str] = []

    def compared(answer: str, reference: str, *, timeout_s: float) -> bool:
        del reference, timeout_s
        asked.append(answer)
        return False

    monkeypatch.setattr(math_grading, "same_expression", compared)
    grade_math([MathCase(f"{n} times: \\boxed{{\\sqrt{{16}}}}", "4") for n in range(50)])

    assert asked == [r"\sqrt{16}"]


@pytest.mark.parametrize(
    ("split", "num_rows"), [pytest.param("train", 7473, marks=pytest.mark.slow), ("test", 1319)]
)
def test_the_recorded_answers_of_gsm8k_are_right_and_those_of_other_rows_only_where_they_are_equal(
    shared_data: Path, monkeypatch, split: str, num_rows: int
):
    monkeypatch.setattr(
        math_grading, "same_expression", lambda *_, **__: pytest.fail("form decides all of these")
    )
    lines = (shared_data / "gsm8k" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    solutions = [json.loads(line)["answer"] for line in lines]
    answers = [solution.rpartition("####")[2].strip() for solution in solutions]
    values = [int(answer.replace(",", "")) for answer in answers]
    next_answers, next_values = answers[1:] + answers[:1], values[1:] + values[:1]

    def are_right(responses: list[str], references: list[str]) -> list[bool]:
        cases = [MathCase(*pair) for pair in zip(responses, references, strict=True)]
        return [grade.is_right for grade in grade_math(cases)]

    assert len(solutions) == num_rows
    assert all(are_right(solutions, answers))
    assert all(are_right(solutions, solutions))
    for form in ("\\boxed{{{0}.00}}", "The answer is ${0}.", "So it is {0} in all.", "Answer: {0} apples"):
        assert all(are_right([form.format(answer) for answer in answers], answers))
    assert are_right(solutions, next_answers) == [
        value == other for value, other in zip(values, next_values, strict=True)
    ]
    both = [f"\\boxed{{{one} or {other}}}" for one, other in zip(answers, next_answers, strict=True)]
    assert not any(are_right(both, answers))
