"""The teacher's full solutions as trajectories that the student can train on."""

from dataclasses import replace

from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from omniopd.data.conversation import Message
from omniopd.data.prompts import Prompt
from omniopd.models.chat import Chat
from omniopd.teachers import TeacherAnswer, TeacherRequest, solutions
from omniopd.training.pretrain import character_tokenizer

TOKENIZER = character_tokenizer("0123456789+=;>")
PROMPTS = [Prompt("p0", "1+2="), Prompt("p1", "4+4=")]


class Solver:
    """Gives every prompt the same replies."""

    name = "solver"

    def __init__(self, *replies: tuple[str, str]):
        self.replies = replies
        self.asked: list[TeacherRequest] = []

    def answer(self, requests):
        self.asked += requests
        texts, reasons = [text for text, _ in self.replies], [reason for _, reason in self.replies]
        answer = TeacherAnswer(
            texts, reasons, mode="completion", prompt_tokens=4, completion_tokens=9, cost_usd=0.5
        )
        return [answer] * len(requests)


def _solutions(teacher: Solver, tokenizer=TOKENIZER, **changes):
    settings = {
        "teacher": teacher, "temperature": 0.0, "chat": Chat(tokenizer), "student": "w", "round_": 7,
        "num_samples": len(teacher.replies), "max_new_tokens": 6, "seed": 0,
    } | changes  # fmt: skip
    return solutions(PROMPTS, **settings)


def test_a_solution_is_the_tokens_of_its_text_and_the_end_where_the_teacher_ended_it():
    [first, second] = _solutions(Solver((";3>3", "stop")))

    assert first.prompt_ids == TOKENIZER.encode("1+2=")
    assert first.response_ids == [*TOKENIZER.encode(";3>3"), Chat(TOKENIZER).end_id]
    assert (first.id, first.prompt_id, first.round) == ("r0007-p0-0", "p0", 7)
    assert (first.response, first.finish_reason, first.student, first.writer) == (
        ";3>3",
        "stop",
        "w",
        "solver",
    )
    assert second.prompt_ids == TOKENIZER.encode("4+4=")


def test_a_solution_ends_with_a_stop_string_which_is_no_part_of_its_text():
    teacher = Solver((";3>;3", "stop"), (";3", "stop"))
    first, second, *_ = _solutions(teacher, stop=[">;"])

    assert (first.response, first.finish_reason) == (";3", "stop")
    assert first.response_ids == TOKENIZER.encode(";3>;")
    assert second.response_ids == [*TOKENIZER.encode(";3"), Chat(TOKENIZER).end_id]
    assert {request.stop for request in teacher.asked} == {(">;",)}


def test_a_solution_follows_every_message_of_its_prompt():
    teacher, history = Solver((";3>3", "stop")), (Message("system", "2+2="), Message("user", "1+1="))
    [first] = solutions(
        [Prompt("p0", "1+2=", history=history)], teacher=teacher, temperature=0.0, chat=Chat(TOKENIZER), student="w",
        round_=0, num_samples=1, max_new_tokens=6, seed=0,
    )  # fmt: skip

    assert teacher.asked[0].messages == (*history, Message("user", "1+2="))
    assert first.messages == teacher.asked[0].messages
    assert first.prompt_ids == Chat(TOKENIZER).encode([first.messages])[0]


def test_a_solution_that_is_cut_has_no_end_and_one_that_is_too_long_for_the_student_is_cut():
    [cut, *_] = _solutions(Solver((";3>", "length")))
    [long, *_] = _solutions(Solver(("1234567", "stop")))
    [exact, *_] = _solutions(Solver(("12345", "stop")))

    assert (cut.response_ids, cut.finish_reason) == (TOKENIZER.encode(";3>"), "length")
    assert (long.response_ids, long.finish_reason) == (TOKENIZER.encode("123456"), "length")
    assert (exact.response_ids[-1], exact.finish_reason) == (Chat(TOKENIZER).end_id, "stop")


def test_the_teacher_is_asked_for_whole_answers_at_the_methods_temperature_and_paid_for_once():
    teacher = Solver((";3", "stop"), (";4", "stop"))
    trajectories = _solutions(teacher, temperature=0.7)

    assert [(r.prompt, r.prefix, r.num_replies, r.max_tokens, r.temperature) for r in teacher.asked] == [
        ("1+2=", "", 2, 6, 0.7),
        ("4+4=", "", 2, 6, 0.7),
    ]
    assert [item.id for item in trajectories] == ["r0007-p0-0", "r0007-p0-1", "r0007-p1-0", "r0007-p1-1"]
    assert sum(item.teacher_tokens for item in trajectories) == 2 * 9
    assert sum(item.teacher_prompt_tokens for item in trajectories) == 2 * 4
    assert sum(item.cost_usd for item in trajectories) == 2 * 0.5
    assert len({item.seed for item in trajectories}) == 4


def test_seeds_are_those_of_the_round_and_the_prompt():
    first, other, again = Solver((";", "stop")), Solver((";", "stop")), Solver((";", "stop"))
    _solutions(first)
    _solutions(other, round_=8)
    _solutions(again)
    assert [request.seed for request in first.asked] == [request.seed for request in again.asked]
    assert not {request.seed for request in first.asked} & {request.seed for request in other.asked}


def test_text_that_would_join_the_prompt_is_read_alone():
    vocabulary = {"a": 0, "b": 1, "ab": 2, "<end>": 3, "<pad>": 4}
    joined = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE(vocabulary, [("a", "b")])), eos_token="<end>", pad_token="<pad>"
    )
    prompts = [replace(PROMPTS[0], prompt="ba")]
    [trajectory] = solutions(
        prompts, teacher=Solver(("bab", "stop")), temperature=0.0, chat=Chat(joined), student="w", round_=0,
        num_samples=1, max_new_tokens=6, seed=0,
    )  # fmt: skip
    assert (trajectory.prompt_ids, trajectory.response_ids) == ([1, 0], [1, 2, 3])


def test_a_solution_that_the_student_cannot_write_trains_nothing():
    unknown, special, plain, *_ = _solutions(Solver((";3a", "stop"), (";3<pad>4", "stop"), (";3", "stop")))
    for failed in (unknown, special):
        assert (failed.failure, failed.response, failed.response_ids) == ("unknown_tokens", "", [])
    assert plain.failure == ""


def test_the_text_of_a_solution_is_that_of_its_tokens():
    """Composed characters are written in one piece, as the tokenizer normalises them."""
    tokenizer = character_tokenizer("12+4=\u00e9")
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    [trajectory, *_] = _solutions(Solver(("e\u0301=1", "stop")), tokenizer)
    assert trajectory.response == "\u00e9=1"
    assert trajectory.response_ids[:3] == tokenizer.encode("\u00e9=1")


def test_a_solution_keeps_the_space_at_its_start_and_gets_none_of_its_own():
    vocabulary = {token: i for i, token in enumerate(["<unk>", "<end>", "▁", "1", "+", "2", "=", "4", "▁4"])}
    spaced = Tokenizer(models.BPE(vocabulary, [("▁", "4")], unk_token="<unk>"))
    spaced.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    spaced.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=spaced, eos_token="<end>", unk_token="<unk>")
    bare, with_space, *_ = _solutions(Solver(("44", "length"), (" 44", "length")), tokenizer)
    assert (bare.response, bare.response_ids) == ("44", [7, 7])
    assert (with_space.response, with_space.response_ids) == (" 44", [8, 7])


def test_nothing_written_and_cut_is_a_failure_and_an_empty_answer_is_its_end():
    [empty, *_] = _solutions(Solver(("", "stop")))
    assert empty.response_ids == [Chat(TOKENIZER).end_id]
    assert empty.failure == ""
    cut, whole, *_ = _solutions(Solver(("", "length"), (";3", "stop")))
    assert (cut.response_ids, cut.failure, cut.cost_usd) == ([], "empty", 0.5)
    assert whole.failure == ""
