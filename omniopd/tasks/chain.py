"""Five chained operations modulo 10, worked from left to right."""

import random

from omniopd.tasks.problem import Problem

NUM_OPERATIONS = 5
OPERATIONS = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}


class Chain:
    """`7+5*3-8+4*2=` → `7+5=2;2*3=6;6-8=8;8+4=2;2*2=4;>4`.

    Each step applies one operation, from left to right without precedence, and keeps the last digit.
    """

    name = "chain"
    alphabet = "0123456789+-*=;>"
    answer_pattern = r">(.*)$"

    def problem(self, rng: random.Random) -> Problem:
        digits = [rng.randrange(10) for _ in range(NUM_OPERATIONS + 1)]
        return self.of(digits, [rng.choice(list(OPERATIONS)) for _ in range(NUM_OPERATIONS)])

    def of(self, digits: list[int], operators: list[str]) -> Problem:
        """The problem of the digits with the operators between them."""
        value, steps, prompt = digits[0], [], str(digits[0])
        for operator, digit in zip(operators, digits[1:], strict=True):
            result = OPERATIONS[operator](value, digit) % 10
            steps.append(f"{value}{operator}{digit}={result};")
            prompt += f"{operator}{digit}"
            value = result
        return Problem(f"{prompt}=", "".join(steps) + f">{value}", str(value), key=prompt)
