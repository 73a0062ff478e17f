"""The chain task, to the character."""

import random
import re
from itertools import islice

from omniopd.tasks import Chain, distinct_problems


def test_the_worked_example():
    problem = Chain().of([7, 5, 3, 8, 4, 2], ["+", "*", "-", "+", "*"])
    assert problem.prompt == "7+5*3-8+4*2="
    assert problem.solution == "7+5=2;2*3=6;6-8=8;8+4=2;2*2=4;>4"
    assert problem.answer == "4"


def test_solutions_are_right_and_within_the_alphabet():
    task = Chain()
    for problem in islice(distinct_problems(task, random.Random(1)), 500):
        tokens = problem.prompt.rstrip("=")
        assert re.fullmatch(r"\d([-+*]\d){5}", tokens)
        value, steps = int(tokens[0]), []
        for operator, digit in zip(tokens[1::2], tokens[2::2], strict=True):
            result = eval(f"({value}{operator}{digit}) % 10")
            steps.append(f"{value}{operator}{digit}={result};")
            value = result
        assert problem.solution == "".join(steps) + f">{value}"
        assert problem.answer == str(value)
        assert re.search(task.answer_pattern, problem.solution)[1] == problem.answer
        assert set(problem.prompt + problem.solution) <= set(task.alphabet)


def test_every_operation_and_digit_occurs_and_no_problem_twice():
    problems = list(islice(distinct_problems(Chain(), random.Random(2)), 2000))
    assert len({problem.prompt for problem in problems}) == len(problems)
    assert set("".join(problem.prompt for problem in problems)) == set("0123456789+-*=")
