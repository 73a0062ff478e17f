"""The records that a run makes, one row each, and their Parquet schemas."""

from dataclasses import dataclass

import pyarrow as pa

STUDENT = "student"  # the writer of a trajectory that is the student's own


def trajectory_id(round_: int, prompt_id: str, n: int) -> str:
    """The id of the n-th response to a prompt in a round.

    >>> trajectory_id(7, "train-00012", 0)
    'r0007-train-00012-0'
    """
    return f"r{round_:04d}-{prompt_id}-{n}"


@dataclass(frozen=True)
class Trajectory:
    """One response, with what the trainer's forward pass says of it.

    `entropies[t]` and `logps[t]` (nats) speak of the distribution that produced `response_ids[t]`,
    under the weights named by `student`. The end token, when written, is the last response token.
    `response_ids` are tokens of the student, also where `writer` is not STUDENT but the name of the
    teacher that wrote the response; its tokens and its cost are then what the teacher counted, and where it
    wrote none `failure` says why in a word: such a trajectory is empty, and trains nothing. `staleness` is the
    number of rounds for which the student had been trained since it wrote the response, when that was trained on.

    >>> trajectory = Trajectory(
    ...     id="r0007-train-00012-0", round=7, prompt_id="train-00012", prompt="4185+5874=",
    ...     prompt_ids=[4, 1, 8, 5, 10, 5, 8, 7, 4, 11],
    ...     response="5+4+0=09", response_ids=[5, 10, 4, 10, 0, 11, 0, 9, 15],
    ...     finish_reason="stop", temperature=1.0, seed=123, student="9f2c", entropies=[0.1] * 9, logps=[-0.1] * 9)
    >>> trajectory.writer
    'student'
    >>> len(trajectory.response_ids)
    9
    """

    id: str
    round: int
    prompt_id: str
    prompt: str
    prompt_ids: list[int]
    response: str
    response_ids: list[int]
    finish_reason: str  # "stop": the end token was written; "length": cut at the limit
    temperature: float
    seed: int
    student: str
    entropies: list[float]
    logps: list[float]
    writer: str = STUDENT
    teacher_prompt_tokens: int = 0
    teacher_tokens: int = 0
    cost_usd: float = 0.0
    failure: str = ""
    staleness: int = 0


@dataclass(frozen=True)
class Verdict:
    """What the teacher wrote at one anchor, and how like the student's chunk it is.

    The target of any alpha can be computed from the row: k_sem, num_replies and pi_bar are here. Where the
    method reads tokens, `reply_ids` are the replies as student tokens, complete ones alone, chunk_len at most;
    they are empty where the prefix came out in other tokens with a reply behind it, or its text does not say all of
    it (`boundary`). Where the teacher could not be heard, `failure` says why in a word: such a chunk is left unaudited.

    >>> verdict = Verdict(
    ...     id="r0007-train-00012-0/5", trajectory_id="r0007-train-00012-0", anchor=5, chunk_len=2, chunk="=0",
    ...     teacher="demo", mode="completion", num_replies=4, replies=["=0", "=0", "=1", "=0"],
    ...     similarities=[1.0, 1.0, 0.5, 1.0], k_sem=3.5, pi_bar=0.62, seed=488, prompt_tokens=15,
    ...     completion_tokens=8, cost_usd=0.0, finish_reasons=["length"] * 4, reply_ids=[], boundary=False)
    >>> verdict.k_sem / verdict.num_replies
    0.875
    """

    id: str
    trajectory_id: str
    anchor: int
    chunk_len: int
    chunk: str
    teacher: str
    mode: str
    num_replies: int
    replies: list[str]
    similarities: list[float]
    k_sem: float
    pi_bar: float
    seed: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float
    finish_reasons: list[str]
    reply_ids: list[list[int]]
    boundary: bool
    failure: str = ""


@dataclass(frozen=True)
class Reward:
    """What a verifier found in a response.

    >>> Reward(id="r0007-train-00012-0", answer="10059", reward=1.0).reward
    1.0
    """

    id: str
    answer: str | None  # what the response gives as its answer, if anything
    reward: float
    failure: str = ""  # the error that the grader failed with on the response, which then counts as wrong


@dataclass(frozen=True)
class ItemResult:
    """One response to an item of a benchmark, and what grading found in it.

    `reference` is the item's answer; a program, which is measured by its tests, has none. `reason` says in a word or
    two why a response is not right.

    >>> result = ItemResult(
    ...     id="7cf19dbd37c34ec2", sample=0, prompt="How many?", response="So 41.", answer="41", reference="42",
    ...     is_right=False, reason="another answer", num_tokens=9, finish_reason="stop", seed=88)
    >>> result.reference
    '42'
    """

    id: str
    sample: int  # from 0, of this item
    prompt: str
    response: str
    answer: str | None  # what the response gives as its answer, if anything
    reference: str | None
    is_right: bool
    reason: str
    num_tokens: int
    finish_reason: str  # "stop": the end token was written; "length": cut at the limit
    seed: int


_STR, _BOOL = pa.string(), pa.bool_()
_I32, _I64, _F32, _F64 = pa.int32(), pa.int64(), pa.float32(), pa.float64()

SCHEMAS: dict[type, pa.Schema] = {
    Trajectory: pa.schema(
        {
            "id": _STR,
            "round": _I32,
            "prompt_id": _STR,
            "prompt": _STR,
            "prompt_ids": pa.list_(_I32),
            "response": _STR,
            "response_ids": pa.list_(_I32),
            "finish_reason": _STR,
            "temperature": _F64,
            "seed": _I64,
            "student": _STR,
            "entropies": pa.list_(_F32),
            "logps": pa.list_(_F32),
            "writer": _STR,
            "teacher_prompt_tokens": _I64,
            "teacher_tokens": _I64,
            "cost_usd": _F64,
            "failure": _STR,
            "staleness": _I32,
        }
    ),
    Verdict: pa.schema(
        {
            "id": _STR,
            "trajectory_id": _STR,
            "anchor": _I32,
            "chunk_len": _I32,
            "chunk": _STR,
            "teacher": _STR,
            "mode": _STR,
            "num_replies": _I32,
            "replies": pa.list_(_STR),
            "similarities": pa.list_(_F64),
            "k_sem": _F64,
            "pi_bar": _F64,
            "seed": _I64,
            "prompt_tokens": _I64,
            "completion_tokens": _I64,
            "cost_usd": _F64,
            "finish_reasons": pa.list_(_STR),
            "reply_ids": pa.list_(pa.list_(_I32)),
            "boundary": _BOOL,
            "failure": _STR,
        }
    ),
    Reward: pa.schema({"id": _STR, "answer": _STR, "reward": _F64, "failure": _STR}),
    ItemResult: pa.schema(
        {
            "id": _STR,
            "sample": _I32,
            "prompt": _STR,
            "response": _STR,
            "answer": _STR,
            "reference": _STR,
            "is_right": _BOOL,
            "reason": _STR,
            "num_tokens": _I64,
            "finish_reason": _STR,
            "seed": _I64,
        }
    ),
}
