"""The addition task, to the character."""

import random
import re
from itertools import islice

from omniopd.tasks import Addition, distinct_problems


def test_the_worked_example():
    problem = Addition().of(4185, 5874)
    assert problem.prompt == "4185+5874="
    assert problem.solution == "5+4+0=09;8+7+0=15;1+8+1=10;4+5+1=10;>10059"
    assert problem.answer == "10059"


def test_solutions_are_right_and_within_the_alphabet():
    task = Addition()
    for problem in islice(distinct_problems(task, random.Random(1)), 500):
        a, b = (int(part) for part in problem.prompt.rstrip("=").split("+"))
        assert 1000 <= a <= 9999
        assert 1000 <= b <= 9999
        assert problem.answer == str(a + b)
        assert re.search(task.answer_pattern, problem.solution)[1] == problem.answer
        assert set(problem.prompt + problem.solution) <= set(task.alphabet)
        carry = 0
        for place, step in enumerate(problem.solution.split(";")[:-1]):
            x, y = a // 10**place % 10, b // 10**place % 10
            assert step == f"{x}+{y}+{carry}={x + y + carry:02d}"
            carry = (x + y + carry) // 10


def test_no_problem_is_drawn_twice_in_either_order():
    assert Addition().of(1234, 5678).key == Addition().of(5678, 1234).key
    keys = [problem.key for problem in islice(distinct_problems(Addition(), random.Random(2)), 5000)]
    assert len(set(keys)) == len(keys)
