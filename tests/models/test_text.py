"""The text of a few tokens in the middle of a response."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from omniopd.engines.pretrain import character_tokenizer
from omniopd.models.text import TextDecoder


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
    decoder = TextDecoder(words)
    ids = words.encode("the sum of nine and five", add_special_tokens=False)
    assert len(ids) >= 4
    for cut in range(1, len(ids)):
        assert decoder.text(ids[:cut]) + decoder.text_after(ids[cut - 1], ids[cut:]) == decoder.text(ids)


def test_a_chunk_keeps_the_space_before_it(words: PreTrainedTokenizerFast):
    ids = words.encode("the sum of", add_special_tokens=False)
    cut = next(i for i in range(1, len(ids)) if words.decode(ids[:i]) == "the")
    assert TextDecoder(words).text_after(ids[cut - 1], ids[cut:]) == " sum of"


def test_the_end_token_has_no_text():
    tokenizer = character_tokenizer("09>")
    decoder = TextDecoder(tokenizer)
    assert decoder.text_after(0, [1, tokenizer.eos_token_id]) == "9"
    assert decoder.text_after(0, [tokenizer.eos_token_id]) == ""
    assert decoder.text_after(None, [2, 0]) == ">0"
