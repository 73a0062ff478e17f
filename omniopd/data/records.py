"""The records that a run makes, one row each, and their Parquet schemas."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pyarrow as pa

from omniopd.data.conversation import Conversation, Message

STUDENT = "student"  # the writer of a trajectory that the student sampled

_ARROW_TYPES = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
Int32 = Annotated[int, pa.int32()]
Float32 = Annotated[float, pa.float32()]


def trajectory_id(round_: int, prompt_id: str, n: int) -> str:
    """The id of the n-th response to a prompt in a round.

    >>> trajectory_id(7, "train-00012", 0)
    'r0007-train-00012-0'
    """
    return f"r{round_:04d}-{prompt_id}-{n}"


def history_text(messages: Sequence[Message]) -> str:
    """The history of a prompt as it is in a record; `history_of` reads it.

    >>> history_of(history_text([Message("system", "Be brief.")]))
    (Message(role='system', content='Be brief.'),)
    """
    return json.dumps([message.as_row() for message in messages], ensure_ascii=False) if messages else ""


@lru_cache(maxsize=1024)  # prompts that share worked examples share the text
def history_of(text: str) -> Conversation:
    """The messages in the history of a record."""
    return tuple(Message(**row) for row in json.loads(text)) if text else ()


@dataclass(frozen=True)
class Trajectory:
    """One response, with the values of the trainer's forward pass.

    `entropies[t]` and `logps[t]` (nats) are those of the distribution that produced `response_ids[t]`, under the
    weights named by `student`. The stop token, if written, is the last response token. `history` holds the messages
    before the prompt, as JSON; empty where there are none. `writer` is STUDENT, or the name of the teacher that wrote
    the response; `response_ids` are the student's tokens in both cases. The teacher_*
    counts and the cost are the teacher's. `failure` says in a word why a teacher wrote nothing: such a trajectory is
    empty and trains nothing. `staleness` is the number of rounds of training between the weights that sampled the
    response and those that learn from it.

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
    round: Int32
    prompt_id: str
    prompt: str
    prompt_ids: list[Int32]
    response: str
    response_ids: list[Int32]
    finish_reason: str  # "stop": the end token was written; "length": cut at the limit
    temperature: float
    seed: int
    student: str
    entropies: list[Float32]
    logps: list[Float32]
    writer: str = STUDENT
    teacher_prompt_tokens: int = 0
    teacher_tokens: int = 0
    cost_usd: float = 0.0
    failure: str = ""
    staleness: Int32 = 0
    history: str = ""

    @property
    def messages(self) -> Conversation:
        """What the student read: the history and the prompt."""
        return (*history_of(self.history), Message("user", self.prompt))


@dataclass(frozen=True)
class Verdict:
    """The teacher's replies at one anchor, and their similarity to the student's chunk.

    The target for any alpha can be computed from the row: it has k_sem, num_replies and pi_bar. For a method that
    reads tokens, `reply_ids` are the replies in the student's tokens: complete tokens only, at most chunk_len. They
    are empty at a `boundary`: the prefix is tokenised differently when a reply follows it, its text does not represent
    it fully, or the student cannot write a reply exactly. At an anchor within a character the teacher is not asked:
    such a boundary has no replies. `failure` says in a word why the teacher did not answer; the chunk is then not
    audited.

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
    anchor: Int32
    chunk_len: Int32
    chunk: str
    teacher: str
    mode: str
    num_replies: Int32
    replies: list[str]
    similarities: list[float]
    k_sem: float
    pi_bar: float
    seed: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float
    finish_reasons: list[str]
    reply_ids: list[list[Int32]]
    boundary: bool
    failure: str = ""


@dataclass(frozen=True)
class Reward:
    """The grade of a response, as a reward.

    >>> Reward(id="r0007-train-00012-0", answer="10059", reward=1.0).reward
    1.0
    """

    id: str
    answer: str | None  # extracted from the response, if there is one
    reward: float
    failure: str = ""  # the grader's error; the response then counts as wrong


@dataclass(frozen=True)
class ItemResult:
    """One graded response to an item of a benchmark.

    `reference` is the item's answer; None for a program, which is graded by tests. `reason` says in a word or two why
    a response is wrong.

    >>> result = ItemResult(
    ...     id="7cf19dbd37c34ec2", sample=0, prompt="How many?", response="So 41.", answer="41", reference="42",
    ...     is_right=False, reason="another answer", num_tokens=9, finish_reason="stop", seed=88)
    >>> result.reference
    '42'
    """

    id: str
    sample: Int32  # from 0, of this item
    prompt: str
    response: str
    answer: str | None  # extracted from the response, if there is one
    reference: str | None
    is_right: bool
    reason: str
    num_tokens: int
    finish_reason: str  # "stop": the end token was written; "length": cut at the limit
    seed: int


def schema_of(record_type: type) -> pa.Schema:
    """The Parquet schema of a record: its fields in order."""
    hints = get_type_hints(record_type, include_extras=True)
    return pa.schema({name: _arrow_type(hint) for name, hint in hints.items()})


def _arrow_type(hint: Any) -> pa.DataType:
    if get_origin(hint) is Annotated:
        return hint.__metadata__[0]
    if get_origin(hint) is list:
        return pa.list_(_arrow_type(get_args(hint)[0]))
    if get_args(hint):  # X | None: any column may hold nulls
        return _arrow_type(get_args(hint)[0])
    return _ARROW_TYPES[hint]
