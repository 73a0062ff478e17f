"""Grading of responses to mathematical problems: does the final answer equal the reference?"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from omniopd.grading.grade import CUT, Grade
from omniopd.grading.math.answers import final_answer, marked_answer
from omniopd.grading.math.equivalence import Ask, compare
from omniopd.grading.math.symbolic import MAX_PROCESSES, TIMEOUT_S, same_expression

Pair = tuple[str, str]  # an answer and a reference


@dataclass(frozen=True)
class MathCase:
    r"""A response, the reference answer, and whether the response ended before the token limit.

    The reference may be a whole solution whose answer is marked by a box or by `####`.

    >>> MathCase(response=r"9 + 9 is \boxed{18}.", answer="18")
    MathCase(response='9 + 9 is \\boxed{18}.', answer='18', finished=True)
    """

    response: str
    answer: str
    finished: bool = True


def grade_math(
    cases: Sequence[MathCase], *, timeout_s: float = TIMEOUT_S, num_processes: int | None = None
) -> list[Grade]:
    """A grade for each case, in order.

    A response that was cut at the token limit is wrong, whatever it contains. Equal pairs of answer and reference are
    compared once. Pairs that their form does not decide go to at most num_processes algebra processes (default: one
    per core), each comparison with timeout_s seconds of processor time.

    Raises:
        ProcessError: no algebra process can be started.
    """
    answers = [final_answer(case.response) for case in cases]
    pairs = [
        None if answer is None or not case.finished else (answer, marked_answer(case.answer))
        for case, answer in zip(cases, answers, strict=True)
    ]
    reasons = _reasons([pair for pair in pairs if pair], timeout_s, num_processes)
    grades = []
    for case, answer, pair in zip(cases, answers, pairs, strict=True):
        reason = "no answer" if case.finished else CUT
        if pair:
            reason = reasons[pair] or ""
        grades.append(Grade(not reason, answer, reason))
    return grades


def _reasons(pairs: list[Pair], timeout_s: float, num_processes: int | None) -> dict[Pair, str | None]:
    """What `_reason` says of each pair: by form where that decides, else by algebra."""
    reasons = {pair: _reason(pair, _ask_later) for pair in dict.fromkeys(pairs)}
    if undecided := [pair for pair, reason in reasons.items() if reason is None]:
        by_algebra = partial(same_expression, timeout_s=timeout_s)
        with ThreadPoolExecutor(min(num_processes or MAX_PROCESSES, len(undecided))) as threads:
            decided = threads.map(lambda pair: _reason(pair, by_algebra), undecided)
            reasons |= dict(zip(undecided, decided, strict=True))
    return reasons


class _UndecidedError(Exception):
    """Form alone does not decide."""


def _ask_later(answer: str, reference: str) -> bool:
    raise _UndecidedError(answer, reference)


def _reason(pair: Pair, ask: Ask) -> str | None:
    """Why the answer is wrong: empty if it is right, None if form alone does not decide."""
    try:
        return "" if compare(*pair, ask) else "another answer"
    except _UndecidedError:
        return None
    except TimeoutError:
        return "took too long"
