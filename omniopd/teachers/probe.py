"""A few cheap calls before a run: which way of asking really continues a prefix, and what else the API takes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from omniopd.errors import TeacherError
from omniopd.functional import SIMILARITIES
from omniopd.functional.seeds import stable_seed
from omniopd.teachers.answers import EMPTY, ONLY_THINKING
from omniopd.teachers.base import Teacher, TeacherAnswer, TeacherRequest
from omniopd.teachers.capabilities import Capabilities
from omniopd.teachers.client import ApiTeacher
from omniopd.teachers.ways import Way

NUM_PROMPTS = 4
MOST_TOKENS = 48  # of a solution; half of it is then asked for again
TELLING_TOKENS = 64  # in all, below which a count of them says little about whose they are
WORDLESS = {
    ONLY_THINKING: "it thinks, and the thoughts use up the tokens of its answer: turn its thinking off in "
    "teacher.request, by { reasoning_effort: none } or, of a model on vLLM, { extra_body: { chat_template_kwargs: "
    "{ enable_thinking: false } } }, or take a model that does not think",
    EMPTY: "its replies are cut before their first character: if it thinks, turn that off in teacher.request "
    "(reasoning_effort: none)",
}
ALIKE = 0.6  # edit similarity at which a continuation passes for that of the same solution


@dataclass(frozen=True)
class Found:
    """The way that works, what the API can do in it, and whether it counts its tokens as the student does.

    >>> Found("completion", Capabilities(("completion",), samples_per_call=16, takes_seed=True)).way
    'completion'
    """

    way: Way
    capabilities: Capabilities
    shares_tokens: bool = False  # whether its tokens are the student's


def probe(
    prompts: Sequence[str],
    *,
    ways: Sequence[Way],
    capabilities: Capabilities,
    teacher_of: Callable[[Found], ApiTeacher],
    tokens_of: Callable[[str], Sequence[int]],
) -> Found:
    """The first of the ways in which the teacher goes on with its own half-written solutions, at temperature 0.

    tokens_of: a text as tokens of the student.

    Raises:
        TeacherError: in none, with what each came to.
    """
    complaints = []
    for way in ways:
        found = Found(way, replace(capabilities, samples_per_call=1))
        heard = _hear(prompts, teacher_of(found))
        complaint = _complaint(heard)
        if complaint is None:
            found = replace(found, shares_tokens=_counts_as(tokens_of, heard))
            return _with_samples(prompts[0], found, capabilities.samples_per_call, teacher_of)
        complaints.append(f"  {way}: {complaint}")
    others = [way for way in capabilities.ways if way not in ways]
    advice = f"set teacher.way to {' or '.join(others)}" if others else "take another teacher"
    raise TeacherError(
        "the teacher does not continue what is put before it:\n" + "\n".join(complaints) + f"\n{advice}"
    )


@dataclass(frozen=True)
class _Heard:
    """The teacher's solutions by number of the prompt, and how it went on with the first halves of them."""

    solutions: Mapping[int, TeacherAnswer]
    continued: Mapping[int, TeacherAnswer]

    def begun(self, i: int) -> str:
        return _first_half(self.solutions[i].replies[0])

    def rest(self, i: int) -> str:
        return self.solutions[i].replies[0][len(self.begun(i)) :]


def _first_half(solution: str) -> str:
    return solution[: len(solution) // 2]


def _hear(prompts: Sequence[str], teacher: Teacher) -> _Heard:
    solved = teacher.answer([_request(i, prompt, "", MOST_TOKENS) for i, prompt in enumerate(prompts)])
    whole = [i for i, answer in enumerate(solved) if not answer.failure]
    halves = [_request(i, prompts[i], _first_half(solved[i].replies[0]), MOST_TOKENS // 2) for i in whole]
    continued = teacher.answer(halves)
    return _Heard(dict(enumerate(solved)), dict(zip(whole, continued, strict=True)))


def _complaint(heard: _Heard) -> str | None:
    """Why the teacher seems not to go on with its own solutions; None where it mostly does.

    A request that fails, by a content filter perhaps, says nothing for or against the way; if all fail, it is the way.
    """
    answers = [*heard.solutions.values(), *heard.continued.values()]
    if 2 * sum(answer.failure in WORDLESS for answer in answers) >= len(answers):
        return WORDLESS[next(answer.failure for answer in answers if answer.failure in WORDLESS)]
    if not heard.continued:
        return f"asked for a solution it failed ({heard.solutions[0].failure})"
    if not any(heard.solutions[i].replies[0] for i in heard.continued):
        return "asked for a solution it wrote nothing"
    replies = {i: answer.replies[0] for i, answer in heard.continued.items() if not answer.failure}
    if not replies:
        failure = next(iter(heard.continued.values())).failure
        return f"given the beginning of its own solution it failed ({failure})"
    strays = [i for i, reply in replies.items() if not _goes_on(heard.rest(i), reply)]
    if 2 * len(strays) <= len(replies):
        return None
    i = strays[0]
    return (
        f"after {heard.begun(i)[-24:]!r} it wrote {replies[i][:24]!r}, where its own solution goes on "
        f"{heard.rest(i)[:24]!r}"
    )


def _counts_as(tokens_of: Callable[[str], Sequence[int]], heard: _Heard) -> bool:
    """Whether the replies were billed as many tokens as they have of the student's, and were enough to tell.

    The end may be billed too, and a reply's first token may be another where it stands alone.
    """
    answers = [
        answer for answer in (*heard.solutions.values(), *heard.continued.values()) if not answer.failure
    ]
    counts = [len(tokens_of(answer.replies[0])) for answer in answers]
    differ = [
        abs(count - answer.completion_tokens) > 1 for count, answer in zip(counts, answers, strict=True)
    ]
    return sum(counts) >= TELLING_TOKENS and not any(differ)


def _goes_on(rest: str, reply: str) -> bool:
    """Whether a reply is the rest of a solution, as far as both go; an empty one is not where there is a rest."""
    size = min(len(rest), len(reply))
    return not rest or (size > 0 and SIMILARITIES["edit"](rest[:size], reply[:size]) >= ALIKE)


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
