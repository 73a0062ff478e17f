"""A text cut at any token: what comes before, what follows, and both read back, by every kind of tokenizer."""

import copy
from collections.abc import Callable

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from omniopd.data.conversation import conversation
from omniopd.errors import ModelError
from omniopd.models.chat import Chat
from omniopd.models.text import Context, TextDecoder
from omniopd.models.token_text import PART, TokenText, characters
from omniopd.training.pretrain import character_tokenizer

CORPUS = ["the sum of four and five is nine, and the rest isn't zero.", "So 3+4=7; then 7 times 2."] * 3
PROMPT = "the sum of"
TEXTS = [
    " four and five",
    "four and  five is nine, and the rest isn't zero .",
    "  two\n\tspaces",
    "学😀数 é",
    "👨‍👩‍👧 nine",
    "<think>the sum</think> is <think> nine",
]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
ADDED = [AddedToken("<think>", special=False), AddedToken("</think>", special=False)]


def wrapped(tokenizer: Tokenizer, **settings) -> PreTrainedTokenizerFast:
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", **{"clean_up_tokenization_spaces": False} | settings
    )
    fast.add_tokens(ADDED)
    return fast


def byte_level(**settings) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return wrapped(tokenizer, **settings)


def with_byte_fallback(scheme: str) -> PreTrainedTokenizerFast:
    """As Llama's: BPE with bytes for unknown characters, and a space that the tokenizer puts before a text."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trained.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=80, show_progress=False))
    vocabulary = trained.get_vocab()
    merges = [
        (token[:i], token[i:])
        for token in sorted(vocabulary, key=vocabulary.__getitem__)
        for i in range(1, len(token))
        if {token[:i], token[i:]} <= vocabulary.keys()
    ]
    tokens = ["<unk>", "<end>", *BYTES, *sorted(vocabulary, key=vocabulary.__getitem__), "▁"]
    tokenizer = Tokenizer(
        models.BPE(
            {token: i for i, token in enumerate(dict.fromkeys(tokens))}, merges, unk_token="<unk>",
            byte_fallback=True,
        )
    )  # fmt: skip
    return wrapped(as_sentencepiece(tokenizer, scheme), unk_token="<unk>")


def unigram(scheme: str) -> PreTrainedTokenizerFast:
    words = {word: -5.0 for text in CORPUS for word in text.replace(" ", " ▁").split()}
    letters = {letter: -9.0 for text in CORPUS for letter in text.replace(" ", "▁")}
    pieces = [("<unk>", 0.0), ("<end>", 0.0), *[(byte, -20.0) for byte in BYTES], *(letters | words).items()]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=True))
    return wrapped(as_sentencepiece(tokenizer, scheme), unk_token="<unk>")


def as_sentencepiece(tokenizer: Tokenizer, scheme: str) -> Tokenizer:
    strip = [decoders.Strip(" ", 1, 0)]
    if scheme == "legacy":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    elif scheme == "gemma":
        tokenizer.normalizer = normalizers.Replace(" ", "▁")
        strip = []
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
        strip = strip if scheme != "never" else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    return tokenizer


def metaspace() -> PreTrainedTokenizerFast:
    """Metaspace in its decoder too, which drops the first space itself."""
    fast = with_byte_fallback("always")
    fast.backend_tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    return fast


def word_piece(*, cleans: bool = False) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    trainer = trainers.WordPieceTrainer(
        vocab_size=120, special_tokens=["<unk>", "<end>"], show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return wrapped(tokenizer, unk_token="<unk>", clean_up_tokenization_spaces=cleans)


def characters_alone() -> PreTrainedTokenizerFast:
    fast = character_tokenizer("".join(sorted(set("".join([*CORPUS, *TEXTS, PROMPT])))))
    fast.add_tokens(ADDED)
    return fast


KINDS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "byte level": byte_level,
    "byte level, spaces cleaned": lambda: byte_level(
        clean_up_tokenization_spaces=True,
        clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output=True,
    ),
    **{
        f"{name}, {scheme}": lambda make=make, scheme=scheme: make(scheme)
        for name, make in (("bpe with bytes", with_byte_fallback), ("unigram", unigram))
        for scheme in ("legacy", "gemma", "always", "first", "never")
    },
    "metaspace": metaspace,
    "word piece": word_piece,
    "word piece, spaces cleaned": lambda: word_piece(cleans=True),
    "characters": characters_alone,
}


@pytest.fixture(scope="module", params=KINDS)
def chat(request: pytest.FixtureRequest) -> Chat:
    return Chat(KINDS[request.param]())


def response_ids(chat: Chat, text: str) -> tuple[list[int], list[int]]:
    """The tokens of the prompt, and those that the student writes for the text after it."""
    [prompt_ids, whole] = chat.encode_rendered([PROMPT, PROMPT + text])
    if whole[: len(prompt_ids)] != prompt_ids:
        return prompt_ids, TextDecoder(chat).read_alone(text, prompt_ids[-1])
    return prompt_ids, whole[len(prompt_ids) :]


def spelt(chat: Chat, text: str) -> str:
    """A text as the tokenizer can write it.

    WordPiece puts one space between words, whatever was between them; a Metaspace that always puts a space before a
    text reads " is" as "is" after an added token.
    """
    prompt_ids, ids = response_ids(chat, text)
    written = TextDecoder(chat).text(ids, prompt_ids[-1])
    if chat.token_text.collapses_space or response_ids(chat, text.replace("> ", ">")) == (prompt_ids, ids):
        assert response_ids(chat, written) == (prompt_ids, ids)
        return written
    return text


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_the_sum_of_its_parts_and_is_read_back_wherever_it_is_cut(chat: Chat, text: str):
    decoder = TextDecoder(chat)
    prompt_ids, ids = response_ids(chat, text)
    before = prompt_ids[-1]
    if decoder.hides(ids):  # characters that WordPiece does not know
        assert decoder.read_after([Context(conversation(PROMPT), prompt_ids, [])], [text]) == [None]
        return

    text = spelt(chat, text)
    assert decoder.text(ids, before) == text
    assert "".join(decoder.pieces(before, ids)) == text
    num_read = 0
    for t in range(len(ids)):
        context = Context(conversation(PROMPT), prompt_ids, ids[:t])
        prefix = decoder.prefix(context)
        if prefix is None:
            assert PART in decoder.text(ids[:t], before)
            continue
        assert prefix == decoder.text(ids[:t], before) == text[: len(prefix)]
        rest = text[len(prefix) :]
        assert decoder.text_after(context.last_id, ids[t:]) == rest
        [read] = decoder.read_after([context], [rest])
        assert read in (ids[t:], None)
        num_read += read is not None
    within = sum(len(character.encode()) - 1 for character in text)
    assert num_read >= len(ids) - within - 1  # where a token reaches across the end of the prompt


def test_a_space_that_the_tokenizer_adds_is_no_text_and_one_that_was_written_is(chat: Chat):
    decoder = TextDecoder(chat)
    for text in ("four", "four and"):
        assert decoder.text(decoder.read_alone(text)) == text
    if not chat.token_text.collapses_space:
        for text in (" four", "four", "  four"):
            prompt_ids, ids = response_ids(chat, text)
            assert decoder.text(ids, prompt_ids[-1]) == text


@pytest.mark.parametrize("kind", ["byte level", "bpe with bytes, legacy", "unigram, gemma"])
def test_each_character_is_at_the_last_of_its_tokens(kind: str):
    decoder = TextDecoder(Chat(KINDS[kind]()))
    ids = decoder.read_alone("a学😀")

    assert "".join(decoder.pieces(None, ids)) == "a学😀"
    assert [len(piece) for piece in decoder.pieces(None, ids)[-7:]] == [0, 0, 1, 0, 0, 0, 1]
    cut = decoder.text(ids[:-1])
    assert cut == "a学" + PART
    assert decoder.prefix(Context(conversation("a"), ids[:1], ids[1:-1])) is None


def test_bytes_that_are_no_character_spoil_none_beside_them():
    assert characters([b"a", b"\xe5\xad", b"\xa6", b"\xe5", b"b", b"\xf0\x9f"]) == [
        "a", "", "学", PART, "b", PART,
    ]  # fmt: skip
    decoder = TextDecoder(Chat(with_byte_fallback("legacy")))
    ids = decoder.read_alone("学")
    assert decoder.text([*ids, ids[-3]], None) == "学" + PART


def stripping(*, left: bool) -> PreTrainedTokenizerFast:
    fast = copy.deepcopy(byte_level())
    fast.add_tokens([AddedToken("<step>", special=False, lstrip=left, rstrip=not left)])
    return fast


@pytest.mark.parametrize("left", [True, False])
def test_spaces_that_an_added_token_takes_are_a_boundary_and_never_lost(left: bool):
    chat = Chat(stripping(left=left))
    decoder = TextDecoder(chat)
    [prompt_ids] = chat.encode([PROMPT])
    context = Context(conversation(PROMPT), prompt_ids, [])
    lost, kept = (" a <step>b", " a<step> b") if left else (" a<step> b", " a <step>b")
    assert decoder.read_after([context], [lost]) == [None]
    [ids] = decoder.read_after([context], [kept])
    assert ids is not None
    assert decoder.text(ids, prompt_ids[-1]) == kept
    step = chat.tokenizer.convert_tokens_to_ids("<step>")
    after = Context(conversation(PROMPT), prompt_ids, [*ids[: ids.index(step)], step])
    assert (decoder.read_after([after], [" b"]) == [None]) == (not left)


def test_an_added_token_has_its_own_text_where_a_byte_level_decoder_takes_it_for_bytes():
    fast = byte_level()
    fast.add_tokens([AddedToken("<é>", special=False), AddedToken("é", special=False)])
    decoder = TextDecoder(Chat(fast))
    ids = decoder.read_alone(" é<é>a")
    assert fast.decode(ids) != " é<é>a"  # else nothing is tested
    assert decoder.pieces(fast.encode("a")[0], ids) == [" ", "é", "<é>", "a"]


def test_text_that_the_student_cannot_write_is_no_tokens_of_its():
    fast = byte_level()
    fast.backend_tokenizer.normalizer = normalizers.NFC()
    decoder = TextDecoder(Chat(fast))
    [prompt_ids] = Chat(fast).encode([PROMPT])
    context = Context(conversation(PROMPT), prompt_ids, [])
    written = [" e\u0301", " \u00e9", " a<end>b", f" a{PART}", " a"]
    assert [ids is not None for ids in decoder.read_after([context] * 5, written)] == [
        False, True, False, False, True,
    ]  # fmt: skip


def test_a_tokenizer_whose_tokens_have_no_text_each_is_refused():
    tokenizer = Tokenizer(models.BPE({"a</w>": 0, "b</w>": 1, "a": 2, "<end>": 3}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.BPEDecoder("</w>")
    tokenizer.model.end_of_word_suffix = "</w>"
    with pytest.raises(ModelError, match="student: the text of its tokens depends on the tokens after them"):
        TokenText(PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")).check("student")
    for make in KINDS.values():
        TokenText(make()).check("student")
