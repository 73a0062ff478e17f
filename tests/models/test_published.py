"""A tokenizer that transformers rebuilds with the wrong class."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from omniopd.models.loading import load_tokenizer
from omniopd.models.published import SAMPLES, as_published


@pytest.fixture
def mislabelled(tmp_path: Path) -> Path:
    """A byte-level tokenizer whose configuration names Llama's class, as DeepSeek-V3's does."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<end>", "<start>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator(["the sum of four and five is nine"] * 3, trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<start>", eos_token="<end>"
    ).save_pretrained(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tokenizer_class": "LlamaTokenizerFast"}))
    return tmp_path


def test_a_tokenizer_reads_and_writes_what_its_file_says(mislabelled: Path):
    built = AutoTokenizer.from_pretrained(mislabelled)
    loaded = load_tokenizer(str(mislabelled))

    assert (
        built.decode(built.encode("the sum", add_special_tokens=False)) != "the sum"
    )  # else nothing is tested
    for sample in SAMPLES:
        assert loaded.decode(loaded.encode(sample, add_special_tokens=False)) == sample
    assert loaded.eos_token == "<end>"


def test_it_is_the_same_after_it_was_saved(mislabelled: Path, tmp_path: Path):
    loaded = load_tokenizer(str(mislabelled))
    loaded.save_pretrained(tmp_path / "saved")
    again = load_tokenizer(str(tmp_path / "saved"))

    assert [again(sample)["input_ids"] for sample in SAMPLES] == [
        loaded(sample)["input_ids"] for sample in SAMPLES
    ]


def test_a_tokenizer_that_agrees_with_its_file_is_left_as_it_is(mislabelled: Path):
    path = mislabelled / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tokenizer_class": "Qwen2Tokenizer"}))
    tokenizer = AutoTokenizer.from_pretrained(mislabelled)
    assert as_published(str(mislabelled), tokenizer) is tokenizer
