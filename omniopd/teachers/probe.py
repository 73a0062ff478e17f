"""A few cheap calls before a run: which way of asking really continues a prefix, and what else the API takes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from omniopd.errors import TeacherError
from omniopd.functional import SIMILARITIES
from omniopd.functional.seeds import stable_seed
from omniopd.teachers.base import Teacher, TeacherRequest
from omniopd.teachers.capabilities import Capabilities
from omniopd.teachers.client import ApiTeacher
from omniopd.teachers.ways import Way

NUM_PROMPTS = 4
MOST_TOKENS = 48  # of a solution; half of it is then asked for again
ALIKE = 0.6  # edit similarity at which a continuation passes for that of the same solution


@dataclass(frozen=True)
class Found:
    """The way that works, and what the API can do in it.

    >>> Found("completion", Capabilities(("completion",), samples_per_call=16, takes_seed=True)).way
    'completion'
    """

    way: Way
    capabilities: Capabilities


def probe(
    prompts: Sequence[str],
    *,
    ways: Sequence[Way],
    capabilities: Capabilities,
    teacher_of: Callable[[Found], ApiTeacher],
) -> Found:
    """The first of the ways in which the teacher goes on with its own half-written solutions, at temperature 0.

    Raises:
        TeacherError: in none, with what each came to.
    """
    complaints = []
    for way in ways:
        found = Found(way, replace(capabilities, samples_per_call=1))
        complaint = _complaint(prompts, teacher_of(found))
        if complaint is None:
            return _with_samples(prompts[0], found, capabilities.samples_per_call, teacher_of)
        complaints.append(f"  {way}: {complaint}")
    others = [way for way in capabilities.ways if way not in ways]
    advice = f"set teacher.way to {' or '.join(others)}" if others else "take another teacher"
    raise TeacherError(
        "the teacher does not continue what is put before it:\n" + "\n".join(complaints) + f"\n{advice}"
    )


def _complaint(prompts: Sequence[str], teacher: Teacher) -> str | None:
    """Why the teacher seems not to go on with its own solutions; None where it mostly does.

    A request that fails, by a content filter perhaps, says nothing for or against the way; if all fail, it is the way.
    """
    solved = teacher.answer([_request(i, prompt, "", MOST_TOKENS) for i, prompt in enumerate(prompts)])
    solutions = {i: answer.replies[0] for i, answer in enumerate(solved) if not answer.failure}
    if not solutions:
        return f"asked for a solution it failed ({solved[0].failure})"
    begun = {i: solution[: len(solution) // 2] for i, solution in solutions.items()}
    continued = teacher.answer(
        [_request(i, prompts[i], prefix, MOST_TOKENS // 2) for i, prefix in begun.items()]
    )
    heard = {i: answer.replies[0] for i, answer in zip(begun, continued, strict=True) if not answer.failure}
    if not heard:
        return f"given the beginning of its own solution it failed ({continued[0].failure})"
    strays = [i for i, reply in heard.items() if not _goes_on(solutions[i][len(begun[i]) :], reply)]
    if 2 * len(strays) <= len(heard):
        return None
    i = strays[0]
    rest = solutions[i][len(begun[i]) :]
    return (
        f"after {begun[i][-24:]!r} it wrote {heard[i][:24]!r}, where its own solution goes on {rest[:24]!r}"
    )


def _goes_on(rest: str, reply: str) -> bool:
    """Whether a reply is the rest of a solution, as far as both go."""
    size = min(len(rest), len(reply))
    return size == 0 or SIMILARITIES["edit"](rest[:size], reply[:size]) >= ALIKE


def _with_samples(prompt: str, found: Found, most: int, teacher_of: Callable[[Found], ApiTeacher]) -> Found:
    """What was found, with several samples a call where the API brings as many as it is asked for."""
    if most == 1:
        return found
    several = replace(found, capabilities=replace(found.capabilities, samples_per_call=most))
    request = replace(_request(NUM_PROMPTS, prompt, "", 1), num_replies=2, temperature=1.0)
    teacher = teacher_of(several)
    brought = teacher.answer([request])[0]
    return found if brought.failure or teacher.num_short_calls else several


def _request(i: int, prompt: str, prefix: str, max_tokens: int) -> TeacherRequest:
    return TeacherRequest(
        id=f"probe-{i}", trajectory_id=f"probe-{i}", prompt=prompt, prefix=prefix, num_replies=1,
        max_tokens=max_tokens, seed=stable_seed("probe", i), temperature=0.0,
    )  # fmt: skip
