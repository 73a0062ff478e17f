"""A tokenizer as it was published: what its tokenizer.json says, where the library's class for it says otherwise."""

from pathlib import Path

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.utils.hub import cached_file

# White space, punctuation and other scripts, at the start of a text and within it.
SAMPLES = ("Hello  world, it's 12+3=15.\n\tx = [1]\r\n", " a b", "  a", "学😀数 é", "")


def as_published(name: str, tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The tokenizer; or, where it reads or writes text otherwise than its tokenizer.json, the one in that file.

    The library builds some tokenizers anew from their vocabulary, by a class that tokenizer_config.json names. Of
    DeepSeek-V3, whose file names Llama's class and holds a byte-level tokenizer, all white space is lost so.
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
