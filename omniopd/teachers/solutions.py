"""Whole solutions of the teacher, for methods that train on its text."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from omniopd.data.prompts import Prompt
from omniopd.data.records import Trajectory, trajectory_id
from omniopd.errors import TeacherError
from omniopd.functional.seeds import stable_seed
from omniopd.models.chat import encode_prompt, end_token
from omniopd.models.text import Context, TextDecoder, legible
from omniopd.teachers.base import Teacher, TeacherAnswer, TeacherRequest, ask


def solutions(
    prompts: Sequence[Prompt],
    *,
    teacher: Teacher,
    temperature: float,
    tokenizer: PreTrainedTokenizerBase,
    student: str,
    round_: int,
    num_samples: int,
    max_new_tokens: int,
    seed: int,
) -> list[Trajectory]:
    """num_samples solutions of each prompt as tokens of the student, not yet scored: `entropies` and `logps` are empty.

    max_new_tokens bounds them in the teacher's tokens and in the student's. `student` is the digest of
    the weights that are to score them.

    Raises:
        TeacherError: the teacher gave too few answers, or an empty one that was cut.
    """
    requests = [
        TeacherRequest(
            id=f"r{round_:04d}-{prompt.id}",
            trajectory_id=f"r{round_:04d}-{prompt.id}",
            prompt=prompt.prompt,
            prefix="",
            num_replies=num_samples,
            max_tokens=max_new_tokens,
            seed=stable_seed("solve", seed, round_, prompt.id) * num_samples,
            temperature=temperature,
        )
        for prompt in prompts
    ]
    decoder, end_id = TextDecoder(tokenizer), end_token(tokenizer)
    trajectories = []
    for prompt, request, answer in zip(prompts, requests, ask(teacher, requests), strict=True):
        prompt_ids = encode_prompt(tokenizer, prompt.prompt)
        written = _read(answer, prompt, prompt_ids, decoder=decoder, end_id=end_id) or [None] * num_samples
        for n, found in enumerate(written):
            text, ids, reason = found or ("", [], "length")
            if found and not ids:
                raise TeacherError(f"{teacher.name}: an empty solution of {prompt.id!r}, cut; ask again")
            is_whole = reason == "stop" and len(ids) <= max_new_tokens
            trajectories.append(
                Trajectory(
                    id=trajectory_id(round_, prompt.id, n),
                    round=round_,
                    prompt_id=prompt.id,
                    prompt=prompt.prompt,
                    prompt_ids=prompt_ids,
                    response=text,
                    response_ids=ids[:max_new_tokens],
                    finish_reason="stop" if is_whole else "length",
                    temperature=temperature,
                    seed=request.seed + n,
                    student=student,
                    entropies=[],
                    logps=[],
                    writer=teacher.name,
                    # What an answer cost stands beside the first of its replies.
                    teacher_prompt_tokens=0 if n else answer.prompt_tokens,
                    teacher_tokens=0 if n else answer.completion_tokens,
                    cost_usd=0.0 if n else answer.cost_usd,
                    failure=answer.failure,
                )
            )
    return trajectories


def _read(
    answer: TeacherAnswer, prompt: Prompt, prompt_ids: list[int], *, decoder: TextDecoder, end_id: int
) -> list[tuple[str, list[int], str]]:
    """Each reply's text, its student tokens, and its finish reason."""
    contexts = [Context(prompt.prompt, prompt_ids, [])] * len(answer.replies)
    texts = [
        legible(text, reason) for text, reason in zip(answer.replies, answer.finish_reasons, strict=True)
    ]
    found = []
    for text, reason, ids in zip(
        texts, answer.finish_reasons, decoder.read_after(contexts, texts), strict=True
    ):
        # Read alone where the prompt's last token would reach into it: the student will write it so.
        own = decoder.read_alone(text) if ids is None else ids
        found.append((text, [*own, end_id] if reason == "stop" else own, reason))
    return found
