"""How sharp a student is at its forks, beside the teacher: what a method that sharpens costs in diversity."""

from collections.abc import Sequence

from transformers import PreTrainedModel

from omniopd.data.prompts import Prompt
from omniopd.data.rows import Row
from omniopd.functional import peak_entropy
from omniopd.models.scoring import score
from omniopd.rounds.rollout import rollouts
from omniopd.rounds.run import Run
from omniopd.sampling.samplers import InProcessSampler, Student, batches

NUM_PROMPTS = 200
NUM_FORKS = 8  # positions of a response, as the fork posterior audits by default


def fork_entropies(
    run: Run, student: PreTrainedModel, teacher: PreTrainedModel | None, prompts: Sequence[Prompt]
) -> dict[str, float]:
    """Mean entropy in nats of the student, and of a teacher that can be read, where the student is least sure.

    Over the NUM_FORKS positions of highest entropy of one sampled response to each of the first NUM_PROMPTS
    prompts (method.md, section 3b). A student below its teacher there has been sharpened beyond it.
    """
    settings = run.config.rollout
    own_weights = Student(student, run.tokenizer, "")
    written = rollouts(
        own_weights,
        prompts[:NUM_PROMPTS],
        sampler=InProcessSampler(own_weights, batch_size=settings.batch_size),
        round_=0,
        num_samples=1,
        max_new_tokens=settings.max_new_tokens,
        temperature=1.0,
        seed=run.config.seed,
    )
    found: dict[str, list[float]] = {"student": [], "teacher": []}
    for group in batches([item for item in written if item.response_ids], settings.batch_size):
        rows = [Row(item.id, item.prompt_ids, item.response_ids) for item in group]
        own = [entropies for entropies, _ in score(student, rows)]
        forks = [peak_entropy(entropies, num_chunks=NUM_FORKS, chunk_len=1) for entropies in own]
        read = {"student": own}
        if teacher is not None:
            read["teacher"] = [entropies for entropies, _ in score(teacher, rows)]
        for who, entropies in read.items():
            found[who] += [row[t] for row, positions in zip(entropies, forks, strict=True) for t in positions]
    return {who: sum(values) / len(values) for who, values in found.items() if values}
