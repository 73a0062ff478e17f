"""From anchors to verdicts: the teacher is asked, and its replies are compared (method.md, sections 2.3 and 2.4)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from omniopd.data.records import Trajectory, Verdict
from omniopd.functional import SIMILARITIES, geometric_mean, posterior_std
from omniopd.functional.seeds import stable_seed
from omniopd.methods import Audit
from omniopd.models.text import Context, TextDecoder
from omniopd.teachers.base import Teacher, TeacherAnswer, TeacherRequest, ask


@dataclass(frozen=True)
class Anchored:
    """A trajectory and the anchors chosen in it, ascending."""

    trajectory: Trajectory
    anchors: Sequence[int]


def verify(
    anchored: Sequence[Anchored],
    *,
    teacher: Teacher,
    audit: Audit,
    decoder: TextDecoder,
    end_id: int,
    seed: int,
) -> list[Verdict]:
    """One verdict per anchor, trajectories and anchors in the order given. The teacher never sees the chunk.

    end_id is the student's end token: what it should have written where the teacher ended its answer.

    Raises:
        TeacherError: a request came back with fewer or more replies than asked for.
    """
    forks = [_Fork(item.trajectory, anchor, audit, decoder) for item in anchored for anchor in item.anchors]
    at_once = audit.stopping.step if audit.stopping else audit.num_replies
    pending, num_heard = forks, 0
    while pending and num_heard < audit.num_replies:
        count = min(at_once, audit.num_replies - num_heard)
        requests = [_request(fork, audit, seed, first=num_heard, count=count) for fork in pending]
        _hear(pending, ask(teacher, requests), audit, decoder, end_id)
        num_heard += count
        pending = [fork for fork in pending if not _is_settled(fork, audit)]
    return [_verdict(fork, teacher.name, audit, seed) for fork in forks]


@dataclass(frozen=True)
class _Reply:
    """One text of the teacher, read and compared."""

    text: str
    finish_reason: str
    ids: (
        list[int] | None
    )  # as tokens of the student, where they are read and the prefix's own stay as they are
    similarity: float


@dataclass
class _Fork:
    """An anchor, what the student wrote there, and what the teacher has said so far."""

    trajectory: Trajectory
    anchor: int
    audit: Audit
    decoder: TextDecoder
    replies: list[_Reply] = field(default_factory=list)
    answers: list[TeacherAnswer] = field(default_factory=list)

    def __post_init__(self) -> None:
        ids, end = self.trajectory.response_ids, self.anchor + self.audit.chunk_len
        self.before = ids[self.anchor - 1] if self.anchor else None
        self.prefix_ids = ids[: self.anchor]
        self.chunk = self.decoder.text_after(self.before, ids[self.anchor : end])
        self.pi_bar = geometric_mean(self.trajectory.logps[self.anchor : end])

    @property
    def id(self) -> str:
        return f"{self.trajectory.id}/{self.anchor}"

    @property
    def context(self) -> Context:
        return Context(self.trajectory.prompt, self.trajectory.prompt_ids, self.prefix_ids)

    @property
    def k_sem(self) -> float:
        return sum(reply.similarity for reply in self.replies)


def _stream(fork: _Fork, audit: Audit, seed: int) -> int:
    # Stride N: an anchor owns the seeds [N · i, N · i + N), so no two share a random stream.
    return stable_seed("verify", seed, fork.trajectory.id, fork.anchor) * audit.num_replies


def _request(fork: _Fork, audit: Audit, seed: int, *, first: int, count: int) -> TeacherRequest:
    return TeacherRequest(
        id=fork.id,
        prompt=fork.trajectory.prompt,
        prefix=fork.decoder.text(fork.prefix_ids),
        num_replies=count,
        max_tokens=audit.chunk_len + audit.spare_tokens,
        seed=_stream(fork, audit, seed) + first,
    )


def _hear(
    forks: Sequence[_Fork],
    answers: Sequence[TeacherAnswer],
    audit: Audit,
    decoder: TextDecoder,
    end_id: int,
) -> None:
    """Note the answers, each reply read and compared."""
    said = [
        (fork, text, reason)
        for fork, answer in zip(forks, answers, strict=True)
        for text, reason in zip(answer.replies, answer.finish_reasons, strict=True)
    ]
    read: list[list[int] | None] = [None] * len(said)
    if audit.reads_tokens:
        read = decoder.read_after([fork.context for fork, _, _ in said], [text for _, text, _ in said])
    for (fork, text, reason), all_ids in zip(said, read, strict=True):
        ids = None if all_ids is None else _complete(all_ids, reason, audit, end_id)
        compared = text
        if audit.clips_replies and ids is not None:
            compared = decoder.text_after(fork.before, ids)
        similarity = SIMILARITIES[audit.similarity](fork.chunk, compared)
        fork.replies.append(_Reply(text, reason, ids, similarity))
    for fork, answer in zip(forks, answers, strict=True):
        fork.answers.append(answer)


def _complete(ids: list[int], finish_reason: str, audit: Audit, end_id: int) -> list[int]:
    """The student tokens that a reply surely holds: no token that may be cut, the end where the answer ended."""
    if finish_reason == "stop":
        ids = [*ids, end_id]
    elif audit.spare_tokens:
        ids = ids[:-1]
    return ids[: audit.chunk_len]


def _is_settled(fork: _Fork, audit: Audit) -> bool:
    """Whether more replies would not be worth their tokens."""
    if audit.stopping is None:
        return False
    std = posterior_std(
        fork.k_sem, num_replies=len(fork.replies), pi_bar=fork.pi_bar, alpha=audit.stopping.alpha
    )
    return std <= audit.stopping.std


def _verdict(fork: _Fork, teacher: str, audit: Audit, seed: int) -> Verdict:
    read = [reply.ids for reply in fork.replies if reply.ids is not None]
    is_boundary = audit.reads_tokens and len(read) < len(fork.replies)
    return Verdict(
        id=fork.id,
        trajectory_id=fork.trajectory.id,
        anchor=fork.anchor,
        chunk_len=audit.chunk_len,
        chunk=fork.chunk,
        teacher=teacher,
        mode=fork.answers[0].mode,
        num_replies=len(fork.replies),
        replies=[reply.text for reply in fork.replies],
        similarities=[reply.similarity for reply in fork.replies],
        k_sem=fork.k_sem,
        pi_bar=fork.pi_bar,
        seed=_stream(fork, audit, seed),
        prompt_tokens=sum(answer.prompt_tokens for answer in fork.answers),
        completion_tokens=sum(answer.completion_tokens for answer in fork.answers),
        cost_usd=sum(answer.cost_usd for answer in fork.answers),
        finish_reasons=[reply.finish_reason for reply in fork.replies],
        reply_ids=[] if is_boundary else read,
        boundary=is_boundary,
    )
