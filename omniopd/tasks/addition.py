"""Four-digit addition with worked steps, least significant digit first."""

import random

from omniopd.tasks.problem import Problem

NUM_DIGITS = 4


class Addition:
    """`4185+5874=` → `5+4+0=09;8+7+0=15;1+8+1=10;4+5+1=10;>10059`.

    Each step adds two digits and the carry, and writes two digits: the new carry and the digit.
    """

    name = "addition"
    alphabet = "0123456789+=;>"
    answer_pattern = r">(.*)$"

    def problem(self, rng: random.Random) -> Problem:
        low, high = 10 ** (NUM_DIGITS - 1), 10**NUM_DIGITS
        return self.of(rng.randrange(low, high), rng.randrange(low, high))

    def of(self, a: int, b: int) -> Problem:
        """The problem a + b."""
        steps, carry = [], 0
        for digit_a, digit_b in zip(reversed(str(a)), reversed(str(b)), strict=True):
            total = int(digit_a) + int(digit_b) + carry
            steps.append(f"{digit_a}+{digit_b}+{carry}={total:02d};")
            carry = total // 10
        answer = str(a + b)
        return Problem(
            prompt=f"{a}+{b}=",
            solution="".join(steps) + ">" + answer,
            answer=answer,
            key=f"{min(a, b)},{max(a, b)}",
        )
