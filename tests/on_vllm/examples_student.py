"""A student for vLLM's build for the CPU, what it might become, how what it writes is compared, and what it leaves."""

import copy
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from scipy.stats import chi2_contingency
from transformers import PreTrainedModel

from omniopd.data.decoding import Decoding
from omniopd.data.processes import runs
from omniopd.data.prompts import Prompt
from omniopd.rounds.rollout import rollouts
from omniopd.sampling.responses import writer_for
from omniopd.sampling.samplers import InProcessSampler, Sampler, Student

STUDENT = {
    "width": 64, "ffn_width": 64, "num_layers": 2, "num_heads": 2, "num_steps": 30, "batch_size": 8,
    "num_examples": 64, "lr": 3.0e-3,
}  # fmt: skip
# What the build for the CPU needs: see docs/rollouts.md.
ENGINE = {"enforce_eager": True, "max_model_len": 128, "block_size": 32, "enable_chunked_prefill": False}
PROMPTS = [Prompt(f"p{i}", f"{i}185+5874=", None) for i in range(10)]
COUNT = 4000  # samples that are counted
MIN_P = 1e-4  # one correct pair of engines in ten thousand would fail
MAX_P = 1e-7  # of another temperature


def moved(model: PreTrainedModel, seed: int, *, least: float = 0.01) -> PreTrainedModel:
    """A copy with everything that is trained changed, by `least` where it is all the same yet."""
    other, rng = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in other.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=rng) * (0.3 * weight.std() + least))
    return other


def pairs(student: Student, sampler: Sampler, *, temperature: float) -> Counter[tuple[int, ...]]:
    """The first two tokens of COUNT responses to one prompt, counted."""
    written = rollouts(writer_for(student, sampler), PROMPTS[:1], round_=0, num_samples=COUNT, max_new_tokens=2,
        decoding=Decoding(temperature), seed=1,
    )  # fmt: skip
    return Counter(tuple(item.response_ids) for item in written)


def p_same(first: Counter, second: Counter) -> float:
    """The p of chi-square for both being counts of one distribution; what is rare is counted together."""
    common = [key for key in first | second if first[key] + second[key] >= 20]
    table = [
        [*(counts[key] for key in common), counts.total() - sum(counts[key] for key in common)]
        for counts in (first, second)
    ]
    return float(
        chi2_contingency(table if sum(row[-1] for row in table) else [row[:-1] for row in table]).pvalue
    )


def greedy(student: Student, sampler: Sampler) -> list[list[int]]:
    written = rollouts(
        writer_for(student, sampler),
        PROMPTS,
        round_=0,
        num_samples=1,
        max_new_tokens=24,
        decoding=Decoding(0.0),
        seed=1,
    )
    return [item.response_ids for item in written]


def check_greedy(served, students: Sequence[Student]) -> list[list[list[int]]]:
    """That vLLM's likeliest responses are those of each student that it is given, back to the first; all responses."""
    for student in [*students[1:], students[0]]:
        with served.synced_to(student) as sampler:
            responses = greedy(student, sampler)
        assert responses == greedy(student, InProcessSampler(student, batch_size=10))
    return [greedy(student, InProcessSampler(student, batch_size=10)) for student in students]


def check_ends_with(starting: str, path: Path | str, engine: dict) -> None:
    """That the processes which the program `starting` prints end when it is killed; path and engine are given to it."""
    process = subprocess.Popen(
        [sys.executable, "-c", starting, path, json.dumps(engine)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    line = next(line for line in process.stdout if line.startswith("pids"))
    process.kill()
    process.wait()
    pids = [int(pid) for pid in line.split()[1:]]
    assert len(pids) >= 2
    deadline = time.monotonic() + 30
    while any(runs(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.2)
