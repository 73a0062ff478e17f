"""From anchors to verdicts: ask the teacher, and compare its replies (method.md, sections 2.3 and 2.4)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from omniopd.data.conversation import Conversation
from omniopd.data.records import Trajectory, Verdict
from omniopd.functional import geometric_mean, posterior_std
from omniopd.functional.seeds import stable_seed
from omniopd.methods import Audit
from omniopd.methods.agreement import similarities
from omniopd.models.text import Context, TextDecoder, legible
from omniopd.models.token_text import PART
from omniopd.teachers.base import STOP_STRING, Teacher, TeacherAnswer, ask, request_of


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
    stop: Sequence[str] = (),
    prompt_of: Callable[[str], Conversation] | None = None,
) -> list[Verdict]:
    """One verdict per anchor, trajectories and anchors in the order given. The teacher never sees the chunk.

    At an anchor within a character, whose prefix is no text, the teacher is not asked: that is a boundary.

    end_id: the student's end token, appended to replies that ended. stop: strings that end a response.
    prompt_of: the prompt as the teacher reads it, by the id of a prompt; default: as the student read it.

    Raises:
        TeacherError: a request came back with fewer or more replies than asked for.
    """
    chunks = [
        _chunk(item.trajectory, anchor, audit, decoder, seed) for item in anchored for anchor in item.anchors
    ]
    step = audit.stopping.step if audit.stopping else audit.num_replies
    pending = [chunk for chunk in chunks if chunk.is_text]
    for first in range(0, audit.num_replies, step):
        if not pending:
            break
        count = min(step, audit.num_replies - first)
        requests = [
            request_of(
                chunk.trajectory.messages if prompt_of is None else prompt_of(chunk.trajectory.prompt_id),
                id=chunk.id, trajectory_id=chunk.trajectory.id, prefix=chunk.prefix or "", num_replies=count,
                max_tokens=audit.chunk_len + audit.spare_tokens, seed=chunk.seed + first, stop=tuple(stop),
            )
            for chunk in pending
        ]  # fmt: skip
        _add_answers(pending, ask(teacher, requests), audit, decoder, end_id)
        pending = [chunk for chunk in pending if not _is_decided(chunk, audit)]
    return [_verdict(chunk, teacher.name, audit) for chunk in chunks]


@dataclass
class _Reply:
    """A text of the teacher. `ids` are its student tokens; None where it was not read, or could not be."""

    text: str
    finish_reason: str
    ids: list[int] | None = None
    similarity: float = 0.0


@dataclass(frozen=True)
class _Chunk:
    """What the student wrote at an anchor, and the teacher's replies there so far."""

    id: str
    trajectory: Trajectory
    anchor: int
    context: Context  # until the anchor
    prefix: str | None  # None where the anchor is within a character
    text: str
    is_text: bool  # whether prefix and chunk can be put to the teacher as text
    pi_bar: float
    seed: int
    replies: list[_Reply] = field(default_factory=list)
    answers: list[TeacherAnswer] = field(default_factory=list)

    @property
    def failure(self) -> str:
        """Why the teacher did not answer; empty where it did."""
        return next((answer.failure for answer in self.answers if answer.failure), "")

    @property
    def k_sem(self) -> float:
        return sum(reply.similarity for reply in self.replies)


def _chunk(trajectory: Trajectory, anchor: int, audit: Audit, decoder: TextDecoder, seed: int) -> _Chunk:
    end = anchor + audit.chunk_len
    ids = trajectory.response_ids[anchor:end]
    context = Context(trajectory.messages, trajectory.prompt_ids, trajectory.response_ids[:anchor])
    prefix, written = decoder.prefix(context), decoder.text_after(context.last_id, ids)
    text = written.rstrip(PART)
    return _Chunk(
        id=f"{trajectory.id}/{anchor}",
        trajectory=trajectory,
        anchor=anchor,
        context=context,
        prefix=prefix,
        text=text,
        is_text=prefix is not None and not (audit.compares_texts and written and not text),
        pi_bar=geometric_mean(trajectory.logps[anchor:end]),
        # Stride N: an anchor has the seeds [N · i, N · i + N), so no two share a random stream.
        seed=stable_seed("verify", seed, trajectory.id, anchor) * audit.num_replies,
    )


def _add_answers(
    chunks: Sequence[_Chunk],
    answers: Sequence[TeacherAnswer],
    audit: Audit,
    decoder: TextDecoder,
    end_id: int,
) -> None:
    """Add an answer to each chunk, its replies encoded and compared in one batch."""
    added: list[tuple[_Chunk, _Reply]] = []
    for chunk, answer in zip(chunks, answers, strict=True):
        chunk.answers.append(answer)
        for text, reason in zip(answer.replies, answer.finish_reasons, strict=True):
            chunk.replies.append(_Reply(text, reason))
            added.append((chunk, chunk.replies[-1]))
    if audit.reads_tokens:
        contexts = [chunk.context for chunk, _ in added]
        texts = [legible(reply.text, reply.finish_reason) for _, reply in added]
        for (_, reply), ids in zip(added, decoder.read_after(contexts, texts), strict=True):
            reply.ids = None if ids is None else _complete(ids, reply.finish_reason, audit, end_id)
    pairs = []
    for chunk, reply in added:
        text = legible(reply.text, reply.finish_reason)
        if audit.clips_replies and reply.ids is not None:
            text = decoder.text_after(chunk.context.last_id, reply.ids).rstrip(PART)
        pairs.append((chunk.text, text))
    for (_, reply), similarity in zip(added, similarities(audit.similarity, pairs), strict=True):
        reply.similarity = similarity


def _complete(ids: list[int], finish_reason: str, audit: Audit, end_id: int) -> list[int]:
    """The student tokens that are certain: without a last one that may be cut, with the end token after a "stop"."""
    if finish_reason == "stop":
        ids = [*ids, end_id]
    elif audit.spare_tokens and finish_reason != STOP_STRING:
        ids = ids[:-1]
    return ids[: audit.chunk_len]


def _is_decided(chunk: _Chunk, audit: Audit) -> bool:
    """Whether no more replies are requested: the teacher failed, or the posterior is narrow enough."""
    if chunk.failure:
        return True
    if audit.stopping is None:
        return False
    std = posterior_std(
        chunk.k_sem, num_replies=len(chunk.replies), pi_bar=chunk.pi_bar, alpha=audit.stopping.alpha
    )
    return std <= audit.stopping.std


def _verdict(chunk: _Chunk, teacher: str, audit: Audit) -> Verdict:
    read = [reply.ids for reply in chunk.replies if reply.ids is not None]
    is_boundary = not chunk.is_text or (audit.reads_tokens and len(read) < len(chunk.replies))
    return Verdict(
        id=chunk.id,
        trajectory_id=chunk.trajectory.id,
        anchor=chunk.anchor,
        chunk_len=audit.chunk_len,
        chunk=chunk.text,
        teacher=teacher,
        mode=chunk.answers[0].mode if chunk.answers else "",
        num_replies=len(chunk.replies),
        replies=[reply.text for reply in chunk.replies],
        similarities=[reply.similarity for reply in chunk.replies],
        k_sem=chunk.k_sem,
        pi_bar=chunk.pi_bar,
        seed=chunk.seed,
        prompt_tokens=sum(answer.prompt_tokens for answer in chunk.answers),
        completion_tokens=sum(answer.completion_tokens for answer in chunk.answers),
        cost_usd=sum(answer.cost_usd for answer in chunk.answers),
        finish_reasons=[reply.finish_reason for reply in chunk.replies],
        reply_ids=[] if is_boundary else read,
        boundary=is_boundary,
        failure=chunk.failure,
    )
