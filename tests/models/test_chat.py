"""How prompts are rendered, and which tokens end a turn, stop generation and are trained."""

import copy
from pathlib import Path

import pytest
import torch
from transformers import GenerationConfig, PreTrainedTokenizerFast

from omniopd.data.decoding import GREEDY, Decoding
from omniopd.data.prompts import Prompt
from omniopd.data.rows import Row, collate
from omniopd.models.chat import Chat
from omniopd.models.generation import generate
from omniopd.models.loading import load_chat, load_model
from omniopd.models.text import TextDecoder
from omniopd.sampling.responses import in_process, respond
from omniopd.sampling.samplers import Student
from omniopd.teachers import InProcessTeacher, TeacherRequest
from omniopd.training.pretrain import character_tokenizer, save_model

TURNS = (
    "{% for m in messages %}{{ m['content'] }}<turn>{% endfor %}"
    "{% if add_generation_prompt %}{{ '' if thinks is defined and not thinks else '>' }}{% endif %}"
)


@pytest.fixture
def turns() -> PreTrainedTokenizerFast:
    """Ends a turn with <turn>, as Gemma does, where its end token is <end>."""
    tokenizer = character_tokenizer("0123456789+=;>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<turn>"]})
    tokenizer.chat_template = TURNS
    return tokenizer


def id_of(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    return tokenizer.get_vocab()[token]


@pytest.fixture
def path(turns: PreTrainedTokenizerFast, model, tmp_path: Path) -> str:
    """A model with that tokenizer, whose generation config has a third end token."""
    wider = copy.deepcopy(model)
    wider.resize_token_embeddings(len(turns))
    wider.generation_config = GenerationConfig(eos_token_id=[id_of(turns, "<end>"), id_of(turns, ";")])
    save_model(tmp_path / "model", wider, turns)
    return str(tmp_path / "model")


def test_the_end_token_is_the_templates_and_generation_stops_at_every_end(
    path: str, turns: PreTrainedTokenizerFast
):
    chat = load_chat(path)

    assert chat.end_id == id_of(turns, "<turn>")
    assert chat.stop_ids == tuple(id_of(turns, token) for token in ("<turn>", "<end>", ";"))


def test_without_a_template_that_shows_one_the_end_token_is_the_tokenizers(turns: PreTrainedTokenizerFast):
    changed = "<turn>{% for m in messages %}{{ m['content'] | upper }}{% endfor %}"
    for template in (None, TURNS.replace("<turn>", ""), "{{ raise_exception('no answers') }}", changed):
        turns.chat_template = template
        assert Chat(turns).stop_ids == (id_of(turns, "<end>"),)


def test_settings_reach_the_template_wherever_it_is_used(path: str, turns: PreTrainedTokenizerFast):
    thinks, quiet = load_chat(path), load_chat(path, {"thinks": False})

    assert thinks.render("1+2=") == "1+2=<turn>>"
    assert quiet.render("1+2=") == "1+2=<turn>"
    assert [quiet.encode(["1+2="])[0], id_of(turns, ">")] == [
        thinks.encode(["1+2="])[0][:-1],
        thinks.encode(["1+2="])[0][-1],
    ]


@pytest.mark.parametrize(
    ("template", "thinks"),
    [
        ("{{ messages[0]['content'] }}", False),
        ("<think>{{ messages[0]['content'] }}<think>", True),
        ("{{ messages[0]['content'] }}<think></think>\n", False),
        ("<|channel|>analysis<|message|>{{ messages[0]['content'] }}<|start|>assistant", True),
    ],
)
def test_a_template_that_leaves_its_thoughts_open_lets_the_model_think(
    turns: PreTrainedTokenizerFast, template: str, thinks: bool
):
    turns.chat_template = template
    assert Chat(turns).thinks == thinks


def test_samples_end_at_the_first_stop_token_that_they_include(path: str):
    chat, model = load_chat(path), load_model(path)
    sampled = {"seeds": [list(range(200))], "max_new_tokens": 12, "decoding": Decoding(3.0)}
    [samples] = generate(model, chat.encode(["1+2="]), **sampled, stop_ids=chat.stop_ids)
    [longer] = generate(model, chat.encode(["1+2="]), **sampled, stop_ids=chat.stop_ids[:1])

    assert {sample.token_ids[-1] for sample in samples if sample.finish_reason == "stop"} == set(
        chat.stop_ids
    )
    for sample, free in zip(samples, longer, strict=True):
        ends = [t for t, id in enumerate(free.token_ids) if id in chat.stop_ids]
        assert sample.token_ids == free.token_ids[: ends[0] + 1 if ends else None]
        assert sample.finish_reason == ("stop" if ends else "length")


def test_a_stop_token_has_no_text_on_the_students_side_nor_on_the_teachers(path: str):
    chat, model = load_chat(path), load_model(path)
    writer = in_process(Student(model, chat, "w"), batch_size=64)
    responses = respond(
        writer,
        [Prompt("p", "1+2=")],
        seeds=[list(range(100))],
        max_new_tokens=6,
        decoding=Decoding(3.0),
        purpose="test",
    )
    request = TeacherRequest("r", "t", "1+2=", "", num_replies=100, max_tokens=6, seed=0, temperature=3.0)
    [answer] = InProcessTeacher(path, name="t", temperature=1.0, batch_size=4).answer([request])

    assert any(response.generation.token_ids[-1] == chat.stop_ids[2] for response in responses)
    assert {"stop", "length"} == set(answer.finish_reasons)
    for response, reply, reason in zip(responses, answer.replies, answer.finish_reasons, strict=True):
        assert not {"<turn>", "<end>", ";"} & {response.text, response.text[-1:], reply[-1:]}
        assert (response.text, response.generation.finish_reason) == (reply, reason)


def test_the_end_token_trains_also_where_it_pads(model):
    """Masks go by length: an end token with the id of the padding is a target like any other."""
    rows = [Row("a", [1, 2], [3, 0]), Row("b", [1], [2, 3, 4, 0])]

    batch = collate(rows, pad_id=0)

    assert batch.token_ids.tolist() == [3, 0, 2, 3, 4, 0]
    logits = model(input_ids=batch.input_ids).logits.flatten(0, 1)[batch.index]
    logits.retain_grad()
    torch.nn.functional.cross_entropy(logits, batch.token_ids, reduction="sum").backward()
    assert (logits.grad[torch.arange(6), batch.token_ids] < 0).all()


@pytest.mark.parametrize("pad", ["<end>", None])
def test_a_tokenizer_may_pad_with_its_end_token_or_with_none(
    model, tokenizer, tmp_path: Path, pad: str | None
):
    padded = copy.deepcopy(tokenizer)
    padded.pad_token = pad
    save_model(tmp_path / "model", model, padded)

    chat = load_chat(str(tmp_path / "model"))

    assert chat.tokenizer.pad_token == pad
    [[sample]] = generate(
        model, chat.encode(["1+2="]), seeds=[[0]], max_new_tokens=4, decoding=GREEDY, stop_ids=chat.stop_ids
    )
    assert TextDecoder(chat).text(sample.token_ids)


def test_an_ordinary_token_that_stops_generation_is_text_within_a_solution_of_the_teacher(path: str):
    chat = load_chat(path)
    decoder = TextDecoder(chat)
    ids = decoder.read_alone("1;2;3")

    assert decoder.text(ids) == "1;2;3"
    assert decoder.text([*ids, chat.end_id]) == "1;2;3"
    assert decoder.text(ids[:2]) == "1"
