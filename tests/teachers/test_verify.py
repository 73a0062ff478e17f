"""What the teacher is asked, and what is made of its answers."""

import math
import random
from dataclasses import replace

import oracle
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from omniopd.data.conversation import Message
from omniopd.data.records import Trajectory, history_text
from omniopd.errors import TeacherError
from omniopd.methods import Audit, Stopping
from omniopd.models.chat import Chat
from omniopd.models.text import TextDecoder
from omniopd.teachers import TeacherAnswer, TeacherRequest, verify
from omniopd.teachers.verify import Anchored
from omniopd.training.pretrain import character_tokenizer

AUDIT = Audit(num_replies=3, chunk_len=2, similarity="edit")
TOKENIZER = character_tokenizer("0123456789+=;>")
DECODER = TextDecoder(Chat(TOKENIZER))


class Recorder:
    """Answers every request with the same texts, and keeps what it was asked."""

    name = "recorder"

    def __init__(self, *replies: str):
        self.replies = list(replies)
        self.asked: list[TeacherRequest] = []

    def answer(self, requests):
        self.asked += requests
        return [
            TeacherAnswer(
                list(self.replies),
                ["length"] * len(self.replies),
                mode="completion",
                prompt_tokens=7,
                completion_tokens=6,
            )
            for _ in requests
        ]


def _anchored(id_: str = "t0", response: str = "5+4+0=09", anchors: tuple[int, ...] = (1, 5)) -> Anchored:
    ids = TOKENIZER.encode(response)
    logps = [-0.1 * (t + 1) for t in range(len(ids))]
    trajectory = Trajectory(
        id=id_, round=0, prompt_id="p", prompt="4185+5874=", prompt_ids=TOKENIZER.encode("4185+5874="),
        response=response, response_ids=ids,
        finish_reason="stop", temperature=1.0, seed=1, student="w", entropies=[0.0] * len(ids), logps=logps,
    )  # fmt: skip
    return Anchored(trajectory, anchors)


def _verify(items: list[Anchored], teacher: Recorder, seed: int = 0, audit: Audit = AUDIT):
    end_id = Chat(TOKENIZER).end_id
    return verify(items, teacher=teacher, audit=audit, decoder=DECODER, end_id=end_id, seed=seed)


def test_the_teacher_is_sent_the_prefix_and_never_the_chunk():
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


def test_a_reply_is_cut_where_a_stop_string_is_complete_and_gets_no_end_token():
    reads, teacher = (
        replace(AUDIT, reads_tokens=True, spare_tokens=1, chunk_len=3),
        Recorder(";>", "=;;4", "+"),
    )
    end_id = Chat(TOKENIZER).end_id
    item = _anchored(response="5;4+0=09", anchors=(4,))
    [verdict] = verify(
        [item], teacher=teacher, audit=reads, decoder=DECODER, end_id=end_id, seed=0, stop=[";;", ";>"]
    )

    assert all(request.stop == (";;", ";>") for request in teacher.asked)
    assert verdict.replies == [";>", "=;;", "+"]
    assert verdict.finish_reasons == ["stop_string", "stop_string", "length"]
    # A token that may be cut is dropped of the last reply alone.
    assert verdict.reply_ids == [TOKENIZER.encode(";>"), TOKENIZER.encode("=;;"), []]


def test_a_stop_string_may_begin_in_the_prefix():
    teacher = Recorder(";4", ">;;", "+;")
    [verdict] = _verify([_anchored(response="5;4+0=09", anchors=(2,))], teacher)
    assert verdict.replies == [";4", ">;;", "+;"]
    [verdict] = verify(
        [_anchored(response="5;4+0=09", anchors=(2,))], teacher=teacher, audit=AUDIT, decoder=DECODER,
        end_id=Chat(TOKENIZER).end_id, seed=0, stop=[";;"],
    )  # fmt: skip
    assert verdict.replies == [";", ">;;", "+;"]


def test_the_teacher_reads_the_messages_before_the_prompt():
    teacher = Recorder("", "", "")
    history = (Message("system", "Be brief."),)
    item = _anchored()
    asked = replace(item, trajectory=replace(item.trajectory, history=history_text(history)))
    _verify([asked], teacher)
    assert {request.messages for request in teacher.asked} == {(*history, Message("user", "4185+5874="))}


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


# --- replies as tokens of the student


READ = Audit(num_replies=3, chunk_len=2, similarity="edit", reads_tokens=True)


class Teacher(Recorder):
    """Answers with texts and the reasons why they end."""

    def __init__(self, *replies: tuple[str, str]):
        super().__init__(*[text for text, _ in replies])
        self.reasons = [reason for _, reason in replies]

    def answer(self, requests):
        return [replace(answer, finish_reasons=list(self.reasons)) for answer in super().answer(requests)]


def test_replies_are_read_as_tokens_of_the_student_and_the_end_of_an_answer_is_its_end_token():
    teacher = Teacher(("+4", "length"), ("=", "stop"), ("", "stop"))
    [verdict] = _verify([_anchored(anchors=(1,))], teacher, audit=READ)
    end = Chat(TOKENIZER).end_id
    assert verdict.reply_ids == [TOKENIZER.encode("+4"), [*TOKENIZER.encode("="), end], [end]]
    assert verdict.finish_reasons == ["length", "stop", "stop"]
    assert not verdict.boundary


def test_with_spare_tokens_the_last_token_of_a_cut_reply_is_dropped_and_no_more_than_a_chunk_is_kept():
    audit = replace(READ, spare_tokens=3)
    teacher = Teacher(("+4+0=", "length"), ("+4", "length"), ("+", "stop"))
    [verdict] = _verify([_anchored(anchors=(1,))], teacher, audit=audit)
    assert [request.max_tokens for request in teacher.asked] == [5]
    assert verdict.reply_ids == [
        TOKENIZER.encode("+4"),
        TOKENIZER.encode("+"),
        [*TOKENIZER.encode("+"), Chat(TOKENIZER).end_id],
    ]


def test_a_reply_that_changes_the_tokens_before_it_is_a_boundary_and_leaves_the_chunk_unread():
    """The tokenizer joins 'ab' to one token: behind an 'a' of its own a reply that begins with 'b' reaches back."""
    vocabulary = {"a": 0, "b": 1, "ab": 2, "<end>": 3, "<pad>": 4}
    joined = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE(vocabulary, [("a", "b")])), eos_token="<end>", pad_token="<pad>"
    )
    trajectory = replace(
        _anchored().trajectory, prompt="bb", prompt_ids=[1, 1], response_ids=[0, 1, 0], logps=[-0.1] * 3
    )
    audit = Audit(num_replies=2, chunk_len=1, similarity="exact", reads_tokens=True)

    def verdict(*replies: str):
        teacher = Teacher(*[(text, "length") for text in replies])
        [audited] = verify(
            [Anchored(trajectory, [1])],
            teacher=teacher, audit=audit, decoder=TextDecoder(Chat(joined)), end_id=3, seed=0,
        )  # fmt: skip
        return audited

    assert (verdict("a", "a").boundary, verdict("a", "a").reply_ids) == (False, [[0], [0]])
    assert (verdict("a", "b").boundary, verdict("a", "b").reply_ids) == (True, [])
    assert verdict("a", "b").replies == ["a", "b"]


def test_a_reply_that_is_cut_within_a_character_casts_no_vote_for_what_nobody_wrote():
    """A teacher that shares the student's bytes, asked for one token where it would write '€', writes a third of it."""
    alphabet = {token: i for i, token in enumerate([*sorted(pre_tokenizers.ByteLevel.alphabet()), "<end>"])}
    of_bytes = Tokenizer(models.BPE(alphabet, []))
    of_bytes.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    of_bytes.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=of_bytes, eos_token="<end>")
    decoder, five = TextDecoder(Chat(tokenizer)), tokenizer.encode("5")
    trajectory = replace(
        _anchored().trajectory, prompt="5", prompt_ids=five, response_ids=five * 2, logps=[-0.1] * 2
    )
    third = decoder.text(tokenizer.encode("€")[:1])
    [verdict] = verify(
        [Anchored(trajectory, [1])],
        teacher=Teacher((third, "length"), ("5", "length"), ("5" + third, "length")),
        audit=replace(READ, similarity="exact"), decoder=decoder, end_id=alphabet["<end>"], seed=0,
    )  # fmt: skip

    assert verdict.reply_ids == [[], five, five]
    assert verdict.replies == [third, "5", "5" + third]


def bytes_alone() -> PreTrainedTokenizerFast:
    """A token a byte."""
    alphabet = {token: i for i, token in enumerate([*sorted(pre_tokenizers.ByteLevel.alphabet()), "<end>"])}
    tokenizer = Tokenizer(models.BPE(alphabet, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")


@pytest.mark.parametrize("reads", [False, True])
def test_at_an_anchor_within_a_character_the_teacher_is_not_asked(reads: bool):
    tokenizer = bytes_alone()
    ids = tokenizer.encode("5€6")
    trajectory = replace(
        _anchored().trajectory, prompt="5", prompt_ids=ids[:1], response_ids=ids, logps=[-0.1] * 5
    )
    teacher = Teacher(("€", "length"), ("6", "length"), ("", "stop"))
    verdicts = verify(
        [Anchored(trajectory, [1, 2, 3, 4])],
        teacher=teacher, audit=replace(AUDIT, reads_tokens=reads), decoder=TextDecoder(Chat(tokenizer)),
        end_id=256, seed=0,
    )  # fmt: skip

    # A chunk of two tokens at 1 holds no whole character either: there is no text to compare with the replies.
    assert [request.prefix for request in teacher.asked] == (["5", "5€"] if reads else ["5€"])
    assert [verdict.anchor for verdict in verdicts if not verdict.replies] == ([2, 3] if reads else [1, 2, 3])
    for verdict in verdicts:
        if not verdict.replies:
            assert (verdict.boundary, verdict.num_replies, verdict.k_sem, verdict.failure) == (
                True,
                0,
                0.0,
                "",
            )
    assert verdicts[-1].chunk == "6"
    assert verdicts[-1].similarities == [0.0, 1.0, 0.0]


def test_texts_are_compared_by_whole_characters():
    tokenizer = bytes_alone()
    ids = tokenizer.encode("56€")
    decoder = TextDecoder(Chat(tokenizer))
    trajectory = replace(
        _anchored().trajectory, prompt="5", prompt_ids=ids[:1], response_ids=ids, logps=[-0.1] * 5
    )
    part = decoder.text(tokenizer.encode("€")[:1])
    teacher = Teacher(("6" + part, "length"), ("6€", "length"), (part, "length"))
    [verdict] = verify(
        [Anchored(trajectory, [1])],
        teacher=teacher, audit=replace(AUDIT, similarity="exact"), decoder=decoder, end_id=256, seed=0,
    )  # fmt: skip

    assert verdict.chunk == "6"
    assert verdict.similarities == [1.0, 0.0, 0.0]


def test_a_clipped_reply_is_compared_as_far_as_the_chunk_is_long():
    long = [("+4+0=09", "length")] * 3
    clipping = replace(READ, clips_replies=True)
    [whole] = _verify([_anchored(anchors=(1,))], Teacher(*long), audit=READ)
    [clipped] = _verify([_anchored(anchors=(1,))], Teacher(*long), audit=clipping)
    assert whole.k_sem == pytest.approx(3 * oracle.edit("+4", "+4+0=09"))
    assert clipped.k_sem == 3
    assert clipped.replies == whole.replies


# --- as many replies as it takes


class Agreeing(Recorder):
    """Agrees about one chunk always, and about the other half of the time."""

    def answer(self, requests):
        self.asked += requests
        return [
            TeacherAnswer(
                ["+4" if request.prefix == "5" or (request.seed + n) % 2 else "" for n in range(request.num_replies)],
                ["length"] * request.num_replies,
                mode="completion",
                prompt_tokens=7,
                completion_tokens=2 * request.num_replies,
            )
            for request in requests
        ]  # fmt: skip


def test_replies_are_drawn_until_the_posterior_is_narrow():
    audit = Audit(
        num_replies=10, chunk_len=2, similarity="exact", stopping=Stopping(step=2, std=0.12, alpha=1.0)
    )
    teacher = Agreeing()
    sure, unsure = _verify([_anchored(response="5+4+0+4=", anchors=(1, 5))], teacher, audit=audit)

    assert (sure.num_replies, unsure.num_replies) == (4, 10)
    for verdict in (sure, unsure):
        assert len(verdict.replies) == len(verdict.similarities) == verdict.num_replies
        assert verdict.completion_tokens == 2 * verdict.num_replies
        assert verdict.prompt_tokens == 7 * verdict.num_replies / 2

    def stds(verdict):
        counts = range(2, verdict.num_replies + 1, 2)
        return [oracle.beta_std(sum(verdict.similarities[:n]), n, verdict.pi_bar, 1.0) for n in counts]

    assert stds(sure)[-1] <= 0.12 < stds(sure)[0]
    assert min(stds(unsure)) > 0.12


class OfKnownMind:
    """Agrees with "+4" with a known chance, each reply by its own seed."""

    name = "of known mind"

    def __init__(self, chance: float):
        self.chance = chance

    def answer(self, requests):
        return [
            TeacherAnswer(
                [
                    "+4" if random.Random(request.seed + n).random() < self.chance else ""
                    for n in range(request.num_replies)
                ],
                ["length"] * request.num_replies,
                mode="completion",
                prompt_tokens=7,
                completion_tokens=2 * request.num_replies,
            )
            for request in requests
        ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chance", "belief", "bias", "replies"),
    [
        (0.02, 0.05, -0.02, 2.3), (0.02, 0.5, -0.01, 6.5), (0.02, 0.95, 0.00, 8.3),
        (0.5, 0.05, -0.10, 7.9), (0.5, 0.5, 0.00, 9.9), (0.5, 0.95, 0.10, 8.0),
        (0.98, 0.05, 0.00, 8.3), (0.98, 0.5, 0.01, 6.5), (0.98, 0.95, 0.02, 2.3),
    ],
)  # fmt: skip
def test_adaptive_replies_have_the_bias_and_the_saving_that_docs_method_states(
    chance: float, belief: float, bias: float, replies: float
):
    audit = Audit(
        num_replies=10, chunk_len=2, similarity="exact", stopping=Stopping(step=2, std=0.1, alpha=1.0)
    )
    example = _anchored(anchors=(1,))
    logps = [math.log(belief)] * len(example.trajectory.logps)
    items = [
        replace(example, trajectory=replace(example.trajectory, id=f"t{i}", logps=logps)) for i in range(3000)
    ]
    verdicts = _verify(items, OfKnownMind(chance), audit=audit)

    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    estimate = mean([verdict.k_sem / verdict.num_replies for verdict in verdicts])
    assert estimate - chance == pytest.approx(bias, abs=0.02)
    assert mean([verdict.num_replies for verdict in verdicts]) == pytest.approx(replies, abs=0.25)
    full = _verify(items, OfKnownMind(chance), audit=replace(audit, stopping=None))
    assert mean([verdict.k_sem / 10 for verdict in full]) == pytest.approx(chance, abs=0.01)


def test_replies_drawn_in_parts_have_the_streams_of_those_drawn_at_once():
    parts = Audit(
        num_replies=6, chunk_len=2, similarity="exact", stopping=Stopping(step=3, std=1e-9, alpha=1.0)
    )
    at_once, in_parts = Agreeing(), Agreeing()
    whole = _verify([_anchored()], at_once, audit=Audit(num_replies=6, chunk_len=2, similarity="exact"))
    halves = _verify([_anchored()], in_parts, audit=parts)

    assert [request.num_replies for request in in_parts.asked] == [3, 3, 3, 3]
    assert [request.seed for request in in_parts.asked] == [
        request.seed + first for first in (0, 3) for request in at_once.asked
    ]
    assert [verdict.replies for verdict in halves] == [verdict.replies for verdict in whole]
    assert [verdict.seed for verdict in halves] == [verdict.seed for verdict in whole]
