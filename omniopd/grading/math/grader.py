"""Grading responses to mathematical problems: which of them come to the reference."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from omniopd.grading.grade import CUT, Grade
from omniopd.grading.math.answers import final_answer, marked_answer
from omniopd.grading.math.equivalence import compare
from omniopd.grading.math.symbolic import MAX_PROCESSES, TIMEOUT_S, same_expression

Pair = tuple[str, str]  # an answer and a reference


@dataclass(frozen=True)
class MathCase:
    r"""A response, the answer that it should come to, and whether it came to an end.

    The answer may be a reference solution too, in which it is marked by a box or by `####`.

    >>> MathCase(response=r"9 + 9 is \boxed{18}.", answer="18")
    MathCase(response='9 + 9 is \\boxed{18}.', answer='18', finished=True)
    """

    response: str
    answer: str
    finished: bool = True


def grade_math(
    cases: Sequence[MathCase], *, timeout_s: float = TIMEOUT_S, num_processes: int | None = None
) -> list[Grade]:
    """A grade for each case, in their order.

    A response that was cut at the limit is wrong, whatever stands in it. Equal pairs of answer and reference are
    compared once, and only those that their form does not decide by algebra: in num_processes processes at most (by
    default one a core), for timeout_s seconds of the processor's time each.

    Raises:
        ProcessError: no process for algebra can be started.
    """
    answers = [final_answer(case.response) for case in cases]
    pairs = [
        None if answer is None or not case.finished else (answer, marked_answer(case.answer))
        for case, answer in zip(cases, answers, strict=True)
    ]
    verdicts = _verdicts([pair for pair in pairs if pair], timeout_s, num_processes)
    return [
        _grade(case, answer, verdicts[pair] if pair else "")
        for case, answer, pair in zip(cases, answers, pairs, strict=True)
    ]


def _grade(case: MathCase, answer: str | None, verdict: str) -> Grade:
    """The grade of a case, where the verdict says what is wrong with its answer."""
    reason = verdict
    if not case.finished:
        reason = CUT
    elif answer is None:
        reason = "no answer"
    return Grade(is_right=not reason, answer=answer, reason=reason)


def _verdicts(pairs: list[Pair], timeout_s: float, num_processes: int | None) -> dict[Pair, str]:
    """What is wrong with each of the pairs; empty where nothing is."""
    verdicts = {pair: _by_form(pair) for pair in dict.fromkeys(pairs)}
    undecided = [pair for pair, verdict in verdicts.items() if verdict is None]
    num_threads = min(num_processes or MAX_PROCESSES, len(undecided))
    if undecided:
        with ThreadPoolExecutor(num_threads) as threads:
            found = threads.map(lambda pair: _by_algebra(pair, timeout_s), undecided)
            verdicts |= dict(zip(undecided, found, strict=True))
    return {pair: verdict or "" for pair, verdict in verdicts.items()}


class _UndecidedError(Exception):
    """Form alone does not tell."""


def _ask_later(own: str, wanted: str) -> bool:
    raise _UndecidedError(own, wanted)


def _by_form(pair: Pair) -> str | None:
    """What is wrong, or None where that is for algebra to say."""
    try:
        return "" if compare(*pair, _ask_later) else "another answer"
    except _UndecidedError:
        return None


def _by_algebra(pair: Pair, timeout_s: float) -> str:
    try:
        is_right = compare(*pair, lambda own, wanted: same_expression(own, wanted, timeout_s=timeout_s))
    except TimeoutError:
        return "took too long"
    return "" if is_right else "another answer"
