"""What the teacher is asked, and what is made of its answers."""

import math

import oracle
import pytest

from omniopd.data.records import Trajectory
from omniopd.engines.pretrain import character_tokenizer
from omniopd.errors import TeacherError
from omniopd.methods import Audit
from omniopd.models.text import TextDecoder
from omniopd.teachers import TeacherAnswer, TeacherRequest, verify
from omniopd.teachers.verify import Anchored

AUDIT = Audit(num_replies=3, chunk_len=2, similarity="edit")
TOKENIZER = character_tokenizer("0123456789+=;>")
DECODER = TextDecoder(TOKENIZER)


class Recorder:
    """Answers every request with the same texts, and keeps what it was asked."""

    name = "recorder"

    def __init__(self, *replies: str):
        self.replies = list(replies)
        self.asked: list[TeacherRequest] = []

    def answer(self, requests):
        self.asked += requests
        return [
            TeacherAnswer(list(self.replies), "completion", prompt_tokens=7, completion_tokens=6)
            for _ in requests
        ]


def _anchored(id_: str = "t0", response: str = "5+4+0=09", anchors: tuple[int, ...] = (1, 5)) -> Anchored:
    ids = TOKENIZER.encode(response)
    logps = [-0.1 * (t + 1) for t in range(len(ids))]
    trajectory = Trajectory(
        id=id_, round=0, prompt_id="p", prompt="4185+5874=", prompt_ids=[4], response=response, response_ids=ids,
        finish_reason="stop", temperature=1.0, seed=1, student="w", entropies=[0.0] * len(ids), logps=logps,
    )  # fmt: skip
    return Anchored(trajectory, anchors)


def _verify(items: list[Anchored], teacher: Recorder, seed: int = 0):
    return verify(items, teacher=teacher, audit=AUDIT, decoder=DECODER, seed=seed)


def test_the_teacher_is_given_what_stands_before_the_chunk_and_never_the_chunk():
    teacher = Recorder("+4", "=0", "")
    _verify([_anchored()], teacher)
    assert [(request.prompt, request.prefix) for request in teacher.asked] == [
        ("4185+5874=", "5"),
        ("4185+5874=", "5+4+0"),
    ]
    assert all((request.num_replies, request.max_tokens) == (3, 2) for request in teacher.asked)


def test_a_verdict_holds_the_soft_count_and_the_belief_of_the_method():
    replies = ("+4", "=0", "")
    first, second = _verify([_anchored()], Recorder(*replies))
    assert (first.id, first.anchor, first.chunk) == ("t0/1", 1, "+4")
    assert (second.id, second.anchor, second.chunk) == ("t0/5", 5, "=0")
    for verdict in (first, second):
        expected = [oracle.edit(verdict.chunk, reply) for reply in replies]
        assert verdict.similarities == pytest.approx(expected)
        assert verdict.k_sem == pytest.approx(sum(expected))
        assert verdict.replies == list(replies)
        assert (verdict.num_replies, verdict.mode, verdict.prompt_tokens, verdict.completion_tokens) == (
            3,
            "completion",
            7,
            6,
        )
    assert first.pi_bar == pytest.approx(math.exp(-(0.2 + 0.3) / 2))
    assert second.pi_bar == pytest.approx(math.exp(-(0.6 + 0.7) / 2))


def test_no_two_chunks_share_a_random_stream():
    teacher = Recorder("", "", "")
    items = [_anchored(f"t{i}", anchors=(0, 2, 4, 6)) for i in range(50)]
    _verify(items, teacher)
    streams = [request.seed + n for request in teacher.asked for n in range(AUDIT.num_replies)]
    assert len(set(streams)) == len(streams) == 600
    assert all(request.seed % AUDIT.num_replies == 0 for request in teacher.asked)  # the stride
    assert max(streams) < 2**63


def test_seeds_depend_on_the_run_the_trajectory_and_the_anchor_alone():
    alone, together, other = Recorder("", "", ""), Recorder("", "", ""), Recorder("", "", "")
    _verify([_anchored("b")], alone)
    _verify([_anchored("a"), _anchored("b")], together)
    _verify([_anchored("b")], other, seed=1)
    assert [request.seed for request in together.asked[2:]] == [request.seed for request in alone.asked]
    assert not {request.seed for request in other.asked} & {request.seed for request in alone.asked}


@pytest.mark.parametrize("replies", [("a", "b"), ("a", "b", "c", "d"), ()])
def test_fewer_or_more_replies_than_asked_are_an_error_and_no_verdict(replies):
    with pytest.raises(
        TeacherError, match=f"recorder: {len(replies)} replies to t0/1 where 3 were asked for"
    ):
        _verify([_anchored()], Recorder(*replies))


def test_a_teacher_that_skips_a_request_is_refused():
    class Forgetful(Recorder):
        def answer(self, requests):
            return super().answer(requests)[1:]

    with pytest.raises(TeacherError, match="1 answers to 2 requests"):
        _verify([_anchored()], Forgetful("a", "b", "c"))


def test_a_trajectory_without_anchors_asks_nothing():
    teacher = Recorder("a", "b", "c")
    assert _verify([_anchored(anchors=())], teacher) == []
    assert teacher.asked == []
