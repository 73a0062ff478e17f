"""The text of a few tokens in the middle of a response."""

import copy

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from omniopd.data.conversation import Conversation, Message, conversation
from omniopd.errors import ModelError
from omniopd.models.chat import Chat, check_template
from omniopd.models.text import Context, TextDecoder, legible
from omniopd.training.pretrain import character_tokenizer


@pytest.fixture(scope="module", params=["byte level", "metaspace"])
def words(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    """A small BPE tokenizer; of the two kinds, metaspace drops a leading space when it decodes alone."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    if request.param == "byte level":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>", "<end>"], show_progress=False)
    tokenizer.train_from_iterator(["the sum of four and five is nine and the rest is zero"] * 3, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", unk_token="<unk>", clean_up_tokenization_spaces=False
    )


def test_the_pieces_of_a_response_join_to_the_whole(words: PreTrainedTokenizerFast):
    decoder = TextDecoder(Chat(words))
    ids = words.encode("the sum of nine and five", add_special_tokens=False)
    assert len(ids) >= 4
    for cut in range(1, len(ids)):
        assert decoder.text(ids[:cut]) + decoder.text_after(ids[cut - 1], ids[cut:]) == decoder.text(ids)


def test_a_chunk_keeps_the_space_before_it(words: PreTrainedTokenizerFast):
    ids = words.encode("the sum of", add_special_tokens=False)
    cut = next(i for i in range(1, len(ids)) if words.decode(ids[:i]) == "the")
    assert TextDecoder(Chat(words)).text_after(ids[cut - 1], ids[cut:]) == " sum of"


def test_the_end_token_has_no_text():
    tokenizer = character_tokenizer("09>")
    decoder = TextDecoder(Chat(tokenizer))
    assert decoder.text_after(0, [1, tokenizer.eos_token_id]) == "9"
    assert decoder.text_after(0, [tokenizer.eos_token_id]) == ""
    assert decoder.text_after(None, [2, 0]) == ">0"


@pytest.fixture(scope="module")
def bytes_bpe() -> PreTrainedTokenizerFast:
    """Every byte is a token, and so are 'an', 'ana' and 'aa'."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    vocabulary = {token: i for i, token in enumerate([*sorted(alphabet), "an", "ana", "aa", "<end>"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("a", "n"), ("an", "a"), ("a", "a")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", clean_up_tokenization_spaces=False
    )


def ids_of(tokenizer: PreTrainedTokenizerFast, *tokens: str) -> list[int]:
    return [tokenizer.get_vocab()[token] for token in tokens]


def read(tokenizer: PreTrainedTokenizerFast, response_ids: list[int], text: str) -> list[int] | None:
    [ids] = TextDecoder(Chat(tokenizer)).read_after(
        [Context(conversation("b"), ids_of(tokenizer, "b"), response_ids)], [text]
    )
    return ids


def test_a_text_is_read_after_words_that_the_tokenizer_encodes_otherwise_than_the_model_wrote_them(
    bytes_bpe: PreTrainedTokenizerFast,
):
    for written in (["ana", "s"], ["an", "a", "s"], ["a", "n", "a", "s"]):
        context = ids_of(bytes_bpe, *written)
        assert read(bytes_bpe, context, "bana") == ids_of(bytes_bpe, "b", "ana")


def test_no_text_is_read_where_a_token_would_reach_into_it(bytes_bpe: PreTrainedTokenizerFast):
    for written in (["s", "an"], ["s", "a", "n"]):
        assert read(bytes_bpe, ids_of(bytes_bpe, *written), "as") is None  # the tokenizer's: s, ana, s
        assert read(bytes_bpe, ids_of(bytes_bpe, *written), "s") == ids_of(bytes_bpe, "s")


def test_no_text_is_read_after_tokens_that_their_text_does_not_show(bytes_bpe: PreTrainedTokenizerFast):
    euro = bytes_bpe.encode("€")
    assert len(euro) == 3
    assert read(bytes_bpe, euro, "5") == ids_of(bytes_bpe, "5")
    assert read(bytes_bpe, euro[:2], "5") is None
    assert read(bytes_bpe, [*euro[:1], *ids_of(bytes_bpe, "s")], "5") is None
    assert read(bytes_bpe, ids_of(bytes_bpe, "s", "<end>", "s"), "5") is None


def test_what_a_cut_leaves_of_a_character_is_not_legible(bytes_bpe: PreTrainedTokenizerFast):
    half = TextDecoder(Chat(bytes_bpe)).text(bytes_bpe.encode("5 €")[:-1])

    assert legible(half, "length") == "5 "
    assert legible("5 €", "length") == "5 €"
    assert legible(half, "stop") == half  # a text that is whole is what it is


# --- what a tokenizer adds after a text


def ending(words: PreTrainedTokenizerFast, form: str) -> PreTrainedTokenizerFast:
    """The tokenizer with another post-processor, as add_eos_token gives it one."""
    other = copy.deepcopy(words)
    ids = [("<end>", other.convert_tokens_to_ids("<end>")), ("<unk>", other.convert_tokens_to_ids("<unk>"))]
    other.backend_tokenizer.post_processor = processors.TemplateProcessing(single=form, special_tokens=ids)
    return other


@pytest.mark.parametrize("form", ["$A <end>", "<unk> $A <end>", "<unk> $A <end> <end>"])
def test_an_end_token_that_the_tokenizer_appends_is_not_part_of_a_prompt(
    words: PreTrainedTokenizerFast, form: str
):
    other = ending(words, form)
    assert other("the sum")["input_ids"][-1] == other.eos_token_id
    bare = words("the sum")["input_ids"]
    before = [other.convert_tokens_to_ids("<unk>")] if form.startswith("<unk>") else []
    assert Chat(other).encode_rendered(["the sum", "the sum<end>", ""]) == [
        [*before, *bare], [*before, *bare, other.eos_token_id], [],
    ]  # fmt: skip
    assert Chat(words).encode_rendered(["the sum"]) == [bare]


def test_replies_are_read_after_such_a_prompt(words: PreTrainedTokenizerFast):
    other = ending(words, "<unk> $A <end>")
    [prompt_ids] = Chat(other).encode_rendered(["the sum"])
    [whole] = Chat(other).encode_rendered(["the sum of four and"])
    response = whole[len(prompt_ids) :]
    ids = TextDecoder(Chat(other)).read_after(
        [Context(conversation("the sum"), prompt_ids, response[:1])], [" four and"]
    )
    assert ids == [response[1:]]


# --- templates that lose the prompt

LOSING = {
    "all of it": "Answer the question.",
    "all but its beginning": "{{ messages[0]['content'][:7] }}",
    "its end": "{{ messages[0]['content'][:-8] }}",
    "its beginning": "{{ messages[0]['content'][5:] }}",
    "what is no system message": "{% for m in messages if m['role'] == 'system' %}{{ m['content'] }}{% endfor %}",
}


@pytest.mark.parametrize("template", LOSING.values(), ids=LOSING)
def test_a_template_that_loses_of_the_prompt_is_refused(words: PreTrainedTokenizerFast, template: str):
    other = copy.deepcopy(words)
    other.chat_template = template
    with pytest.raises(ModelError) as caught:
        check_template("student", Chat(other), [])
    [line] = str(caught.value).splitlines()
    assert line.startswith("student: its chat template renders ")
    assert "alike" in line
    assert "chat_template.jinja" in line


def prompts(*texts: str) -> list[Conversation]:
    return [conversation(text) for text in texts]


DEAF = {
    "system": "{% for m in messages if m['role'] != 'system' %}{{ m['content'] }}{% endfor %}",
    "assistant": "{% for m in messages if m['role'] != 'assistant' %}{{ m['content'] }}{% endfor %}",
}


@pytest.mark.parametrize("role", DEAF)
def test_a_template_that_leaves_out_a_message_is_refused_where_prompts_have_such_a_one(
    words: PreTrainedTokenizerFast, role: str
):
    other = copy.deepcopy(words)
    other.chat_template = DEAF[role]
    check_template("student", Chat(other), prompts("a cat"))
    shot = (Message("system", "Be brief."), Message("user", "a dog"), Message("assistant", "woof"))
    with pytest.raises(ModelError, match=f"student: its chat template leaves out the {role} message "):
        check_template("student", Chat(other), [*prompts("a cat"), (*shot, Message("user", "a cat"))])


def test_a_template_that_knows_no_system_message_is_named_with_the_roles(words: PreTrainedTokenizerFast):
    other = copy.deepcopy(words)
    other.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "{{ messages[0]['content'] }}"
    )
    asked = (Message("system", "Be brief."), Message("user", "a cat"))
    with pytest.raises(ModelError, match=r"does not take messages of system, user \(.*no system"):
        check_template("student", Chat(other), [asked])


def test_a_template_that_loses_one_word_is_refused_where_two_prompts_differ_by_it(
    words: PreTrainedTokenizerFast,
):
    other = copy.deepcopy(words)
    other.chat_template = "{{ messages[0]['content'] | replace('cat', 'dog') | trim }}"
    check_template("student", Chat(other), prompts("a cat", " a cat "))
    with pytest.raises(ModelError, match="'a cat' and 'a dog'"):
        check_template("student", Chat(other), prompts("a cat", "a dog"))
