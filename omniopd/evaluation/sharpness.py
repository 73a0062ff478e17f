"""Entropies of student and teacher at the student's forks: how much diversity a method costs."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel

from omniopd.config import RunConfig
from omniopd.data.decoding import Decoding
from omniopd.data.prompts import Prompt
from omniopd.data.rows import Row, as_teacher_reads
from omniopd.functional import peak_entropy
from omniopd.models.chat import Chat
from omniopd.models.scoring import score
from omniopd.rounds.rollout import rollouts
from omniopd.sampling.responses import Writer
from omniopd.sampling.samplers import batches
from omniopd.teachers.briefing import briefing_of

NUM_PROMPTS = 200
NUM_FORKS = 8  # positions of a response, as the fork posterior audits by default


@dataclass(frozen=True)
class Forks:
    """A sampled response as a row, and its positions of highest entropy."""

    row: Row
    positions: list[int]


def sampled_rows(
    writer: Writer, prompts: Sequence[Prompt], config: RunConfig, *, teacher_chat: Chat | None = None
) -> list[Row]:
    """One sampled response to each of the first NUM_PROMPTS prompts; empty ones are left out.

    With the chat of a teacher the rows also hold the prompts as it reads them.
    """
    briefing, by_id = briefing_of(config.teacher), {prompt.id: prompt for prompt in prompts}
    written = rollouts(
        writer,
        prompts[:NUM_PROMPTS],
        round_=0,
        num_samples=1,
        max_new_tokens=config.rollout.max_new_tokens,
        decoding=Decoding(),
        seed=config.seed,
    )
    return [
        Row(
            item.id, item.prompt_ids, item.response_ids,
            teacher_prompt_ids=teacher_chat and teacher_chat.encode([briefing.messages(by_id[item.prompt_id])])[0],
        )
        for item in written
        if item.response_ids
    ]  # fmt: skip


def forks_of(
    student: PreTrainedModel, rows: Sequence[Row], *, batch_size: int
) -> tuple[list[Forks], float | None]:
    """The student's forks, and its mean entropy at them in nats; None if there are none.

    The NUM_FORKS positions of highest entropy of each row (method.md, section 3b).
    """
    forks, values = [], []
    for group in batches(rows, batch_size):
        for row, (entropies, _) in zip(group, score(student, group), strict=True):
            positions = peak_entropy(entropies, num_chunks=NUM_FORKS, chunk_len=1)
            forks.append(Forks(row, positions))
            values += [entropies[t] for t in positions]
    return forks, _mean(values)


def entropy_at(model: PreTrainedModel, forks: Sequence[Forks], *, batch_size: int) -> float | None:
    """The mean entropy in nats of a teacher at those forks, after its prompts.

    A student below its teacher there has been sharpened beyond it.
    """
    values = []
    for group in batches(forks, batch_size):
        scored = score(model, [as_teacher_reads(fork.row) for fork in group])
        for fork, (entropies, _) in zip(group, scored, strict=True):
            values += [entropies[t] for t in fork.positions]
    return _mean(values)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
