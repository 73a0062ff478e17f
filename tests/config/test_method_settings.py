"""Settings of a method that are refused or warned of."""

from pathlib import Path
from typing import Any

import pytest
from params_files import TOO_LONG, edited, refusal

from omniopd.methods import OmniOPD


def test_the_published_settings_warn_of_nothing():
    assert OmniOPD().warnings(vocab_size=150_000) == []


def test_no_anchor_warns_with_the_published_collapse():
    [warning] = OmniOPD(beta=0).warnings(vocab_size=0)

    assert warning.startswith("beta is 0: ")
    assert "69.08 to 8.28" in warning
    assert warning.endswith("; the published value is 0.1")


@pytest.mark.parametrize(
    ("chunk_len", "vocab_size", "warns"),
    [
        (25, 150_000, True),
        (26, 150_000, False),
        (2, 1000, True),
        (2, 18, False),  # characters: a chunk is short, and so is a word
        (2, 0, False),  # the vocabulary is not known
    ],
)
def test_short_chunks_of_words_warn_with_the_published_collapse(chunk_len: int, vocab_size: int, warns: bool):
    warnings = OmniOPD(chunk_len=chunk_len).warnings(vocab_size=vocab_size)

    assert len(warnings) == warns
    for warning in warnings:
        assert warning.startswith(f"chunk_len is {chunk_len}: ")
        assert "69.08 to 24.48" in warning
        assert warning.endswith("; the published value is 50")


def test_both_dangers_are_two_warnings():
    assert len(OmniOPD(beta=0, chunk_len=2).warnings(vocab_size=150_000)) == 2


@pytest.mark.parametrize(
    ("edits", "place", "named"),
    [
        (
            {"arms.omniopd.train": {"steps_per_round": 2}},
            "arms.omniopd (methods.omniopd)",
            ["train.steps_per_round is 2", "set it to 1"],
        ),
        (
            {"arms.omniopd": {"method": "sft", "train": {"steps_per_round": 129}}},
            "arms.omniopd",
            ["128 responses", "train.steps_per_round = 129", "lower it"],
        ),
        (
            {"arms.omniopd": {"method": "grpo"}},
            "arms.omniopd (methods.grpo)",
            ["rollout.num_samples is 1", "`rollout: { num_samples: 8 }`"],
        ),
        (
            {"arms.omniopd.settings": {"baseline": "prompt"}},
            "arms.omniopd (methods.omniopd)",
            ["baseline is 'prompt'", "rollout.num_samples is 1", "raise num_samples", "batch"],
        ),
        (
            {"arms.omniopd.settings": {"spare_tokens": 2}},
            "arms.omniopd (methods.omniopd)",
            ["spare_tokens", "set clip_replies: true"],
        ),
        (
            {"arms.omniopd": {"method": "fork", "settings": {"chunk_len": 49}}},
            "arms.omniopd (methods.fork)",
            [TOO_LONG.format(chunk_len=49, room=48)],
        ),
        (
            {"arms.omniopd": {"method": "fork", "settings": {"alpha": 0.0}}},
            "arms.omniopd.settings.alpha",
            ["0.0 is not positive; the default is 1.0"],
        ),
        (
            {"arms.omniopd": {"method": "no_such_package:Method"}},
            "arms.omniopd.method",
            ["'no_such_package:Method' cannot be imported", "install its package"],
        ),
        (
            {"arms.omniopd": {"method": "math:tau"}},
            "arms.omniopd.method",
            ["'math:tau' is not an omniopd.methods.Method", "derive the class from it"],
        ),
    ],
)
def test_what_a_method_cannot_do_is_refused(
    tmp_path: Path, edits: dict[str, Any], place: str, named: list[str]
):
    [line] = refusal(edited(tmp_path, edits))

    assert line.startswith(f"params.yaml: {place}: ")
    assert [name for name in named if name not in line] == []
