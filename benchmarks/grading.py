"""Responses graded per second: answers against plain math-verify, programs against Python without a sandbox."""

import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from math_verify import parse, verify

from benchmarks.figure import Figure, alternating
from omniopd.grading.code.grader import CodeCase, grade_programs
from omniopd.grading.math.grader import MathCase, grade_math

NUM_ANSWERS, NUM_PROGRAMS, NUM_AT_ONCE, ROUNDS = 300, 40, 2, 5


def figures() -> list[Figure]:
    """Whole-number answers in a box, half of them wrong; and programs of a line with one test."""
    return [_answers(), _programs()]


def _answers() -> Figure:
    rng = random.Random(0)
    numbers = [rng.randrange(10_000) for _ in range(NUM_ANSWERS)]
    cases = [MathCase(f"It comes to \\boxed{{{n + rng.randrange(2)}}}.", f"{n / 1:,.2f}") for n in numbers]

    def ours() -> int:
        return len(grade_math(cases))

    def theirs() -> int:
        return len([verify(parse(case.answer), parse(case.response)) for case in cases])

    rates = alternating(ours, theirs, rounds=ROUNDS)
    return Figure("answers that are numbers", "gradings/s", rates[0], "math-verify called directly", rates[1])


def _programs() -> Figure:
    program, test = "def double(n):\n    return 2 * n\n", "assert double(4) == 8"
    cases = [CodeCase(f"```python\n{program}```", "Double n.", test)] * NUM_PROGRAMS

    def ours() -> int:
        return sum(grade.is_right for grade in grade_programs(cases, num_processes=NUM_AT_ONCE))

    def bare(_: CodeCase) -> bool:
        return subprocess.run([sys.executable, "-I", "-c", program + test], check=False).returncode == 0

    def theirs() -> int:
        with ThreadPoolExecutor(NUM_AT_ONCE) as threads:
            return sum(threads.map(bare, cases))

    rates = alternating(ours, theirs, rounds=ROUNDS)
    return Figure("programs of a line", "programs/s", rates[0], "python without a sandbox", rates[1])
