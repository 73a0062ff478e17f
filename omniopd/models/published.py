"""Loads a tokenizer from its tokenizer.json where transformers' class for it would change it."""

from pathlib import Path

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.utils.hub import cached_file

# White space, punctuation and other scripts, at the start of a text and within it.
SAMPLES = ("Hello  world, it's 12+3=15.\n\tx = [1]\r\n", " a b", "  a", "学😀数 é", "")


def as_published(name: str, tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The tokenizer, or the one in its tokenizer.json where the two encode or decode text differently.

    transformers rebuilds some tokenizers from their vocabulary, with the class that tokenizer_config.json names.
    DeepSeek-V3's names Llama's class, but its tokenizer is byte-level, so the rebuilt one drops all white space.
    """
    if not isinstance(tokenizer, PreTrainedTokenizerFast) or type(tokenizer) is PreTrainedTokenizerFast:
        return tokenizer  # the file itself, or a tokenizer that has none
    file = cached_file(name, "tokenizer.json", _raise_exceptions_for_missing_entries=False)
    if file is None or _agree(tokenizer, Tokenizer.from_file(str(Path(file)))):
        return tokenizer
    return PreTrainedTokenizerFast.from_pretrained(name)


def _agree(tokenizer: PreTrainedTokenizerBase, published: Tokenizer) -> bool:
    """Whether both read the samples as the same tokens, and those as the same text."""
    for sample in SAMPLES:
        ids = published.encode(sample, add_special_tokens=False).ids
        if list(tokenizer.encode(sample, add_special_tokens=False)) != ids:
            return False
        if tokenizer.decode(ids, clean_up_tokenization_spaces=False) != published.decode(ids):
            return False
    return True
