"""From anchors to verdicts: the teacher is asked, and its replies are compared (method.md, sections 2.3 and 2.4)."""

from collections.abc import Sequence
from dataclasses import dataclass

from omniopd.data.records import Trajectory, Verdict
from omniopd.errors import TeacherError
from omniopd.functional import SIMILARITIES, geometric_mean
from omniopd.functional.seeds import stable_seed
from omniopd.methods import Audit
from omniopd.models.text import TextDecoder
from omniopd.teachers.base import Teacher, TeacherAnswer, TeacherRequest


@dataclass(frozen=True)
class Anchored:
    """A trajectory and the anchors chosen in it, ascending."""

    trajectory: Trajectory
    anchors: Sequence[int]


def verify(
    anchored: Sequence[Anchored], *, teacher: Teacher, audit: Audit, decoder: TextDecoder, seed: int
) -> list[Verdict]:
    """One verdict per anchor, trajectories and anchors in the order given. The teacher never sees the chunk.

    Raises:
        TeacherError: a request came back with fewer or more replies than asked for.
    """
    pairs = [(item.trajectory, anchor) for item in anchored for anchor in item.anchors]
    requests = [_request(trajectory, anchor, audit, decoder, seed) for trajectory, anchor in pairs]
    answers = teacher.answer(requests)
    if len(answers) != len(requests):
        raise TeacherError(f"{teacher.name}: {len(answers)} answers to {len(requests)} requests; ask again")
    return [
        _verdict(trajectory, anchor, request, answer, teacher.name, audit, decoder)
        for (trajectory, anchor), request, answer in zip(pairs, requests, answers, strict=True)
    ]


def _request(
    trajectory: Trajectory, anchor: int, audit: Audit, decoder: TextDecoder, seed: int
) -> TeacherRequest:
    # Stride N: request i owns the seeds [N · i, N · i + N), so no two chunks share a random stream.
    stream = stable_seed("verify", seed, trajectory.id, anchor)
    return TeacherRequest(
        id=f"{trajectory.id}/{anchor}",
        prompt=trajectory.prompt,
        prefix=decoder.text(trajectory.response_ids[:anchor]),
        num_replies=audit.num_replies,
        max_tokens=audit.chunk_len,
        seed=stream * audit.num_replies,
    )


def _verdict(
    trajectory: Trajectory,
    anchor: int,
    request: TeacherRequest,
    answer: TeacherAnswer,
    teacher: str,
    audit: Audit,
    decoder: TextDecoder,
) -> Verdict:
    if len(answer.replies) != audit.num_replies:
        raise TeacherError(
            f"{teacher}: {len(answer.replies)} replies to {request.id} where {audit.num_replies} were asked for; "
            "a short sample would pass for disagreement, so ask again"
        )
    end = anchor + audit.chunk_len
    before = trajectory.response_ids[anchor - 1] if anchor else None
    chunk = decoder.text_after(before, trajectory.response_ids[anchor:end])
    similarities = [SIMILARITIES[audit.similarity](chunk, reply) for reply in answer.replies]
    return Verdict(
        id=request.id,
        trajectory_id=trajectory.id,
        anchor=anchor,
        chunk_len=audit.chunk_len,
        chunk=chunk,
        teacher=teacher,
        mode=answer.mode,
        num_replies=audit.num_replies,
        replies=answer.replies,
        similarities=similarities,
        k_sem=sum(similarities),
        pi_bar=geometric_mean(trajectory.logps[anchor:end]),
        seed=request.seed,
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.completion_tokens,
        cost_usd=answer.cost_usd,
    )
