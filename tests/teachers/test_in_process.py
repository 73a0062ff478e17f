"""The teacher in this process: what it is asked, in whatever order, and what it says."""

from dataclasses import replace
from pathlib import Path

import pytest

from omniopd.data.decoding import Decoding
from omniopd.models.chat import Chat
from omniopd.models.generation import generate
from omniopd.teachers import InProcessTeacher, TeacherRequest
from omniopd.training.pretrain import character_tokenizer, save_model

TEMPLATE = "{% for m in messages %}0{{ m.content }}0{% endfor %}{% if add_generation_prompt %}>{% endif %}"


@pytest.fixture(scope="module")
def path(model, tokenizer, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("teacher") / "teacher"
    save_model(path, model, tokenizer)
    return str(path)


def teacher(path: str, batch_size: int = 2) -> InProcessTeacher:
    return InProcessTeacher(path, name="demo", temperature=1.0, batch_size=batch_size)


def request(prefix: str, seed: int = 0, **changes: int) -> TeacherRequest:
    sizes = {"num_replies": 3, "max_tokens": 4} | changes
    return TeacherRequest(f"id-{prefix}", f"id-{prefix}", "1+2=", prefix, seed=seed, **sizes)


REQUESTS = [request(prefix, seed=100 * i) for i, prefix in enumerate(["3;4>", "", "3", "12345678", "3;"])]


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_each_answer_is_what_the_model_writes_after_that_prefix_in_any_batch(
    path: str, model, tokenizer, batch_size: int
):
    answers = teacher(path, batch_size).answer(REQUESTS)

    for asked, answer in zip(REQUESTS, answers, strict=True):
        ids = tokenizer.encode(asked.prompt + asked.prefix)
        [written] = generate(
            model,
            [ids],
            seeds=[[asked.seed, asked.seed + 1, asked.seed + 2]],
            max_new_tokens=4,
            decoding=Decoding(),
            stop_ids=Chat(tokenizer).stop_ids,
        )
        texts = [tokenizer.decode(sample.token_ids, skip_special_tokens=True) for sample in written]
        assert answer.replies == texts
        assert answer.prompt_tokens == len(ids)
        assert answer.finish_reasons == [sample.finish_reason for sample in written]
        assert answer.completion_tokens == sum(len(sample.token_ids) for sample in written)


def test_replies_are_as_many_as_asked_for_and_no_longer(path: str):
    answers = teacher(path).answer([request("", num_replies=50, max_tokens=2)])

    [replies] = [answer.replies for answer in answers]
    assert len(replies) == 50
    assert {len(reply) for reply in replies} <= {0, 1, 2}
    assert len(set(replies)) > 1


def test_the_same_request_has_the_same_answer_and_another_seed_another(path: str):
    asked = [request("3", seed=7), request("3", seed=1000)]

    assert teacher(path).answer(asked) == teacher(path).answer(asked)
    first, second = teacher(path).answer(asked)
    assert first.replies != second.replies


def test_a_request_may_set_the_temperature(path: str):
    greedy = replace(request("3", num_replies=20), temperature=0.0)
    [greedy_answer], [sampled_answer] = (
        teacher(path).answer([asked]) for asked in (greedy, request("3", num_replies=20))
    )

    assert len(set(greedy_answer.replies)) == 1
    assert len(set(sampled_answer.replies)) > 1


def test_nothing_asked_is_nothing_answered(path: str):
    assert teacher(path).answer([]) == []


def test_requests_of_different_shapes_are_refused(path: str):
    with pytest.raises(ValueError, match="agree in replies, tokens, temperature and stop strings"):
        teacher(path).answer([request("3"), request("3", num_replies=1)])


def test_a_prefix_follows_the_chat_template(model, tmp_path: Path):
    plain = character_tokenizer("0123456789+=;>")
    templated = character_tokenizer("0123456789+=;>")
    templated.chat_template = TEMPLATE
    save_model(tmp_path / "chat", model, templated)
    save_model(tmp_path / "plain", model, plain)

    [chat] = teacher(str(tmp_path / "chat")).answer([request("3;")])
    written_out = TeacherRequest("x", "x", "01+2=0>", "3;", num_replies=3, max_tokens=4, seed=0)
    [by_hand] = teacher(str(tmp_path / "plain")).answer([written_out])

    assert chat == by_hand
