"""A few cheap calls before a run: which way of asking continues a prefix, and what else the API supports."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from omniopd.data.conversation import Conversation
from omniopd.errors import TeacherError
from omniopd.functional import SIMILARITIES
from omniopd.functional.seeds import stable_seed
from omniopd.teachers.answers import EMPTY, ONLY_THINKING
from omniopd.teachers.base import Teacher, TeacherAnswer, TeacherRequest, request_of
from omniopd.teachers.capabilities import Capabilities
from omniopd.teachers.client import ApiTeacher
from omniopd.teachers.ways import Way

NUM_PROMPTS = 4
MAX_TOKENS = 48  # of a solution; half of it is then requested again
MIN_COUNTED_TOKENS = 64  # in all, below which a count says little about the tokenizer
WORDLESS = {
    ONLY_THINKING: "it thinks, and the thoughts use up the tokens of its answer: turn its thinking off in "
    "teacher.request, by { reasoning_effort: none } or, of a model on a server of yours, in "
    "teacher.chat_template_kwargs, by { enable_thinking: false }, or take a model that does not think",
    EMPTY: "its replies are cut before their first character: if it thinks, turn that off in teacher.request "
    "(reasoning_effort: none)",
}
MIN_SIMILARITY = 0.6  # edit similarity of a continuation to the rest of the solution


@dataclass(frozen=True)
class ProbeResult:
    """The way that works, what the API supports in it, and whether it counts tokens as the student does.

    >>> ProbeResult("completion", Capabilities(("completion",), samples_per_call=16, takes_seed=True)).way
    'completion'
    """

    way: Way
    capabilities: Capabilities
    shares_tokens: bool = False  # whether its tokens are the student's


def probe(
    prompts: Sequence[Conversation],
    *,
    ways: Sequence[Way],
    capabilities: Capabilities,
    teacher_of: Callable[[ProbeResult], ApiTeacher],
    tokens_of: Callable[[str], Sequence[int]],
) -> ProbeResult:
    """The first of the ways in which the teacher continues its own half-written solutions, at temperature 0.

    tokens_of: a text as tokens of the student.

    Raises:
        TeacherError: no way works; the message says what happened in each.
    """
    complaints = []
    for way in ways:
        result = ProbeResult(way, replace(capabilities, samples_per_call=1))
        solutions, continuations = _sample(prompts, teacher_of(result))
        answers = [*solutions, *(item.answer for item in continuations)]
        complaint = _complaint(answers, continuations)
        if complaint is None:
            result = replace(result, shares_tokens=_counts_as(tokens_of, answers))
            return _with_samples(prompts[0], result, capabilities.samples_per_call, teacher_of)
        complaints.append(f"  {way}: {complaint}")
    others = [way for way in capabilities.ways if way not in ways]
    advice = f"set teacher.way to {' or '.join(others)}" if others else "take another teacher"
    raise TeacherError(
        "the teacher does not continue the prefix that it is given:\n" + "\n".join(complaints) + f"\n{advice}"
    )


@dataclass(frozen=True)
class _Continuation:
    """The two halves of a solution of the teacher, and its answer when it was given the first."""

    first: str
    second: str
    answer: TeacherAnswer


def _sample(
    prompts: Sequence[Conversation], teacher: Teacher
) -> tuple[list[TeacherAnswer], list[_Continuation]]:
    solutions = teacher.answer([_request(i, prompt, "", MAX_TOKENS) for i, prompt in enumerate(prompts)])
    texts = {i: answer.replies[0] for i, answer in enumerate(solutions) if not answer.failure}
    halves = {i: (text[: len(text) // 2], text[len(text) // 2 :]) for i, text in texts.items()}
    answers = teacher.answer(
        [_request(i, prompts[i], half, MAX_TOKENS // 2) for i, (half, _) in halves.items()]
    )
    return solutions, [
        _Continuation(*half, answer) for half, answer in zip(halves.values(), answers, strict=True)
    ]


def _complaint(answers: Sequence[TeacherAnswer], continuations: Sequence[_Continuation]) -> str | None:
    """Why the teacher seems not to continue its own solutions; None where it mostly does.

    A single request may fail, by a content filter for instance; only if all fail is the way to blame.
    """
    wordless = [answer.failure for answer in answers if answer.failure in WORDLESS]
    if 2 * len(wordless) >= len(answers):
        return WORDLESS[wordless[0]]
    if not continuations:
        return f"asked for a solution it failed ({answers[0].failure})"
    if not any(item.first + item.second for item in continuations):
        return "asked for a solution it wrote nothing"
    answered = [item for item in continuations if not item.answer.failure]
    if not answered:
        return f"given the beginning of its own solution it failed ({continuations[0].answer.failure})"
    strays = [item for item in answered if not _continues(item.second, item.answer.replies[0])]
    if 2 * len(strays) <= len(answered):
        return None
    stray = strays[0]
    return (
        f"after {stray.first[-24:]!r} it wrote {stray.answer.replies[0][:24]!r}, where its own solution continues "
        f"with {stray.second[:24]!r}"
    )


def _continues(rest: str, reply: str) -> bool:
    """Whether a reply is the rest of a solution, over the length of the shorter; an empty reply continues no rest."""
    size = min(len(rest), len(reply))
    return not rest or (size > 0 and SIMILARITIES["edit"](rest[:size], reply[:size]) >= MIN_SIMILARITY)


def _counts_as(tokens_of: Callable[[str], Sequence[int]], answers: Sequence[TeacherAnswer]) -> bool:
    """Whether the replies were billed as many tokens as they have of the student's, and were long enough to tell.

    The end token may be billed too, and a reply's first token may differ where it is encoded alone.
    """
    counts = [
        (len(tokens_of(answer.replies[0])), answer.completion_tokens)
        for answer in answers
        if not answer.failure
    ]
    is_same = all(abs(student - billed) <= 1 for student, billed in counts)
    return is_same and sum(student for student, _ in counts) >= MIN_COUNTED_TOKENS


def _with_samples(
    prompt: Conversation,
    result: ProbeResult,
    num_samples: int,
    teacher_of: Callable[[ProbeResult], ApiTeacher],
) -> ProbeResult:
    """The result with num_samples a call, where the API returns as many as it is asked for; else as it is."""
    if num_samples == 1:
        return result
    several = replace(result, capabilities=replace(result.capabilities, samples_per_call=num_samples))
    teacher = teacher_of(several)
    request = replace(_request(NUM_PROMPTS, prompt, "", 1), num_replies=2, temperature=1.0)
    [answer] = teacher.answer([request])
    return result if answer.failure or teacher.num_short_calls else several


def _request(i: int, prompt: Conversation, prefix: str, max_tokens: int) -> TeacherRequest:
    return request_of(
        prompt, id=f"probe-{i}", trajectory_id=f"probe-{i}", prefix=prefix, num_replies=1, max_tokens=max_tokens,
        seed=stable_seed("probe", i), temperature=0.0,
    )  # fmt: skip
