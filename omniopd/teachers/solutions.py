"""Whole solutions of the teacher, for methods that train on its text."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from omniopd.data.conversation import Conversation
from omniopd.data.decoding import before_stop
from omniopd.data.prompts import Prompt
from omniopd.data.records import Trajectory, history_text, trajectory_id
from omniopd.functional.seeds import stable_seed
from omniopd.models.chat import Chat
from omniopd.models.text import Context, TextDecoder, legible
from omniopd.teachers.answers import EMPTY
from omniopd.teachers.base import STOP_STRING, Teacher, TeacherAnswer, TeacherRequest, ask, request_of

# Why a solution trains nothing: it has characters that the student has no token for, or the text of a special token.
UNKNOWN_TOKENS = "unknown_tokens"


def solutions(
    prompts: Sequence[Prompt],
    *,
    teacher: Teacher,
    temperature: float,
    chat: Chat,
    student: str,
    round_: int,
    num_samples: int,
    max_new_tokens: int,
    seed: int,
    stop: Sequence[str] = (),
    prompt_of: Callable[[str], Conversation] | None = None,
) -> list[Trajectory]:
    """num_samples solutions of each prompt as student tokens, not yet scored: `entropies` and `logps` are empty.

    max_new_tokens limits both the teacher's tokens and the student's. `student` is the digest of the weights that will
    score them. Responses end at the first of the `stop` strings. prompt_of: the prompt as the teacher reads it, by the
    id of a prompt; default: as the student reads it.

    Raises:
        TeacherError: the teacher gave too few answers.
    """
    requests = [
        request_of(
            prompt.messages if prompt_of is None else prompt_of(prompt.id),
            id=f"r{round_:04d}-{prompt.id}", trajectory_id=f"r{round_:04d}-{prompt.id}", prefix="",
            num_replies=num_samples, max_tokens=max_new_tokens, temperature=temperature, stop=tuple(stop),
            seed=stable_seed("solve", seed, round_, prompt.id) * num_samples,
        )
        for prompt in prompts
    ]  # fmt: skip
    decoder, trajectories = TextDecoder(chat), []
    prompt_ids = chat.encode([prompt.messages for prompt in prompts])
    for prompt, ids, request, answer in zip(
        prompts, prompt_ids, requests, ask(teacher, requests), strict=True
    ):
        empty = Trajectory(
            id=trajectory_id(round_, prompt.id, 0), round=round_, prompt_id=prompt.id, prompt=prompt.prompt,
            prompt_ids=ids, response="", response_ids=[],
            finish_reason="length", temperature=temperature, seed=request.seed, student=student,
            entropies=[], logps=[], writer=teacher.name, failure=answer.failure,
            history=history_text(prompt.history),
        )  # fmt: skip
        solved = [empty] * num_samples
        if answer.replies:
            solved = _with_replies(empty, answer, request, decoder, chat.end_id)
        costs = {
            "teacher_prompt_tokens": answer.prompt_tokens, "teacher_tokens": answer.completion_tokens,
            "cost_usd": answer.cost_usd,
        }  # fmt: skip
        trajectories += [
            # The first sample carries the costs of the answer.
            replace(
                item, id=trajectory_id(round_, prompt.id, n), seed=request.seed + n, **({} if n else costs)
            )
            for n, item in enumerate(solved)
        ]
    return trajectories


def _with_replies(
    empty: Trajectory, answer: TeacherAnswer, request: TeacherRequest, decoder: TextDecoder, end_id: int
) -> list[Trajectory]:
    """The empty trajectory with each reply as its response."""
    texts = [legible(*reply) for reply in zip(answer.replies, answer.finish_reasons, strict=True)]
    contexts = [Context(empty.messages, empty.prompt_ids, [])] * len(texts)
    trajectories = []
    for text, reason, ids in zip(
        texts, answer.finish_reasons, decoder.read_after(contexts, texts), strict=True
    ):
        # Encoded alone where the last token of the prompt would reach into the text: the student will write it so.
        before = empty.prompt_ids[-1]
        ids = decoder.read_alone(text, before) if ids is None else ids
        if decoder.hides(ids):
            trajectories.append(replace(empty, failure=UNKNOWN_TOKENS))
            continue
        if reason == "stop":
            ids = [*ids, end_id]
        if not ids:  # special tokens alone, which have no text
            trajectories.append(replace(empty, failure=EMPTY))
            continue
        is_whole = reason in ("stop", STOP_STRING) and len(ids) <= request.max_tokens
        trajectories.append(
            replace(
                empty,
                response=before_stop(decoder.text(ids, before), request.stop),
                response_ids=ids[: request.max_tokens],
                finish_reason="stop" if is_whole else "length",
            )
        )
    return trajectories
