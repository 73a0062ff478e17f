"""Made runs and answers for tests of the report: audits that agree, disagree and fail, and hostile texts."""

import base64
import gzip
import json
import math
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from projects import REPOSITORY

from omniopd.config import RunConfig, load_params, resolve
from omniopd.data.records import ItemResult, Reward, Trajectory, Verdict
from omniopd.models.chat import Chat
from omniopd.models.text import TextDecoder
from omniopd.report.page.story import AuditedTrajectory, RunStory
from omniopd.training.pretrain import character_tokenizer

HOSTILE = [
    "<script>document.title = 'taken'</script>",
    "<img src=x onerror=\"document.title = 'taken'\">",
    "</script><h1 id=planted>planted</h1><!--",
    "\" autofocus onfocus=\"document.title = 'taken' & &lt;b&gt;",
]
"""What a model may write that a browser would obey if it were let."""

WORDS = [
    "so",
    "the",
    "train",
    "takes",
    "three",
    "hours",
    "and",
    "two",
    "more,",
    "that",
    "is",
    "five;",
    "the",
    "answer",
    "is",
    "therefore",
    "42.",
]
ALPHABET = "".join(sorted({*map(chr, range(32, 127)), "\n", "é", "√", "😀"}))
END = len(ALPHABET) + 1  # the id of the end token


@lru_cache
def decoder() -> TextDecoder:
    """A token a character."""
    return TextDecoder(Chat(character_tokenizer(ALPHABET)))


@lru_cache
def config(arm: str = "omniopd") -> RunConfig:
    """What the repository's params.yaml says of that arm."""
    return resolve(load_params(REPOSITORY / "params.yaml"), arm, 0)


def audited(
    round_: int, prompt: int, response: str, *, prompt_text: str | None = None, num_audits: int = 2
) -> AuditedTrajectory:
    """A response that ended, with audits of ten characters: the first agrees, the second does not, a third fails."""
    rng = random.Random(f"{round_}/{prompt}")
    ids = [*map(ALPHABET.index, response), END]
    trajectory = Trajectory(
        id=f"r{round_:04d}-train-{prompt:05d}-0", round=round_, prompt_id=f"train-{prompt:05d}",
        prompt=prompt_text or f"How long does train {prompt} take?", prompt_ids=[1, 2], response=response,
        response_ids=ids, finish_reason="stop", temperature=1.0, seed=1, student="9f2c",
        entropies=[rng.expovariate(1.5) for _ in ids], logps=[-rng.expovariate(2.0) for _ in ids],
    )  # fmt: skip
    verdicts = [audit(trajectory, 10 * n, n) for n in range(num_audits)]
    return AuditedTrajectory(trajectory, verdicts, None)


def audit(trajectory: Trajectory, anchor: int, kind: int) -> Verdict:
    """Three replies to ten characters: 0 the same, 1 others, 2 none, as the teacher failed."""
    chunk = trajectory.response[anchor : anchor + 10]
    replies = {0: [chunk, chunk, chunk[:-1] + "!"], 1: ["unlike 123", HOSTILE[1], chunk[::-1]], 2: []}[
        kind % 3
    ]
    similarities = {0: [1.0, 1.0, 0.9], 1: [0.1, 0.0, 0.2], 2: []}[kind % 3]
    return Verdict(
        id=f"{trajectory.id}/{anchor}", trajectory_id=trajectory.id, anchor=anchor, chunk_len=10, chunk=chunk,
        teacher="claude", mode="instruct", num_replies=len(replies), replies=replies, similarities=similarities,
        k_sem=math.fsum(similarities), pi_bar=0.5, seed=3, prompt_tokens=120, completion_tokens=30, cost_usd=0.0021,
        finish_reasons=["length"] * len(replies), reply_ids=[], boundary=False,
        failure="timeout" if kind % 3 == 2 else "",
    )  # fmt: skip


def words(rng: random.Random, num: int) -> str:
    """So many words of those."""
    return " ".join(rng.choice(WORDS) for _ in range(num))


def few(num_rounds: int = 3) -> list[AuditedTrajectory]:
    """Four prompts a round; the last is hostile in its prompt, its response and its replies."""
    rng = random.Random(0)
    items = []
    for round_ in range(num_rounds):
        items += [audited(round_, n, words(rng, 12), num_audits=2 + (n == 1)) for n in range(3)]
        items.append(audited(round_, 3, " ".join(HOSTILE), prompt_text=HOSTILE[0] + HOSTILE[2]))
    first = items[0]
    items[0] = replace(first, reward=Reward(first.trajectory.id, "42", 1.0))
    return items


def many(num_trajectories: int, *, num_audits: int = 5) -> Iterator[AuditedTrajectory]:
    """As many as a real run has, 64 a round."""
    rng = random.Random(1)
    for n in range(num_trajectories):
        yield audited(n // 64, n % 640, words(rng, 30), num_audits=num_audits)


def rounds(num: int = 6) -> list[dict[str, float]]:
    """The metrics of rounds, the last of which is only measured."""
    rows: list[dict[str, float]] = []
    for r in range(num):
        row = {"round": r, "loss": 4.0 - 0.2 * r, "loss/reinforcement": 3.5 - 0.2 * r, "loss/anchor": 0.5}
        row |= {"entropy": 0.9 - 0.05 * r, "anchor_kl": 0.02 * r, "response_len": 60.0 + r, "cut_share": 0.1}
        row |= {
            "target/mean": 0.4 + 0.05 * r,
            "target/std": 0.2,
            "k_sem/mean": 1.2 + 0.1 * r,
            "k_sem_floor/mean": 0.6,
        }
        row |= {
            "teacher_tokens": 1000.0,
            "teacher_prompt_tokens": 4000.0,
            "cost_usd": 0.05,
            "student_tokens": 700.0,
        }
        rows.append(row | ({"validation/greedy": 0.44 + 0.05 * r} if r % 2 == 0 else {}))
    return [*rows, {"round": num, "validation/greedy": 0.7}]


def story(
    items: Sequence[AuditedTrajectory] | Iterator[AuditedTrajectory],
    *,
    arm: str = "omniopd",
    reads_tokens: bool = True,
) -> RunStory:
    """A run of that arm with those trajectories."""
    return RunStory(
        name=f"{arm}-0",
        key="5f3a",
        config=config(arm),
        inputs={"train": "aa11", "student": "bb22"},
        models={"student": "models/seed-0/student", "teacher": "models/seed-0/teacher"},
        rounds=rounds(),
        seconds={"train": 30.0, "verify": 60.0, "roll out": 10.0},
        alarms=[(2, "0.31 of the responses are cut at the limit (alarms.cut_share: 0.3)")],
        trajectories=items,
        decoder=decoder() if reads_tokens else None,
    )


def record(arm: str, seed: int, *, after: float, teacher_tokens: int = 1000) -> dict[str, Any]:
    """What `evaluate` writes of a run, as far as a comparison reads it."""
    points = [(0, 0, 0.5), (5, teacher_tokens // 2, 0.6), (9, teacher_tokens, after)]
    curve = [{"round": r, "teacher_tokens": tokens, "value": value} for r, tokens, value in points]
    measured = {
        when: {
            "greedy": {"accuracy": value, "num_prompts": 4},
            "sampled": {"accuracy": value},
            "fork_entropy": {},
        }
        for when, value in (("before", 0.5), ("after", after))
    }
    return {
        "arm": arm, "seed": seed, "lr": 0.001, "steps": 80, **measured, "teacher_tokens": teacher_tokens,
        "trained_tokens": 5000, "student_tokens": 5000, "cost_usd": 0.0, "seconds": {"train": 9.0},
        "curves": {"validation/greedy": curve},
    }  # fmt: skip


def payload(html: str, name: str) -> Any:
    """The data that a page holds under that name."""
    packed = re.search(rf'id="data-{name}">([^<]*)<', html)
    assert packed is not None
    return json.loads(gzip.decompress(base64.b64decode(packed[1])))


def answers(right: Sequence[bool], *, seed: int = 0) -> list[ItemResult]:
    """Answers to held-out prompts, the last of which is hostile."""
    texts = [*(f"What is {n} + {n}?" for n in range(len(right) - 1)), HOSTILE[2]]
    return [
        ItemResult(
            id=f"heldout-{n:05d}", sample=0, prompt=text, response=f"So {2 * n + (not is_right)}. {HOSTILE[0]}",
            answer=str(2 * n + (not is_right)), reference=str(2 * n), is_right=is_right,
            reason="" if is_right else "another answer", num_tokens=7, finish_reason="stop", seed=seed,
        )
        for n, (text, is_right) in enumerate(zip(texts, right, strict=True))
    ]  # fmt: skip
