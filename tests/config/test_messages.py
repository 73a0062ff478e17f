"""Messages about unknown keys, wrong types and several mistakes: the setting, its value, the remedy."""

from pathlib import Path
from typing import Any

import pytest
from params_files import METHODS, TOO_LONG, edited, refusal

from omniopd.config import Train

TRAIN_KEYS = ", ".join(Train.model_fields)


UNKNOWN_KEYS = {
    "top, far from any": (
        {"nonsense": 1},
        "nonsense: unknown key; known are seeds, prompts, models, teacher, rollout, train, evaluation, "
        "benchmarks, compute, tracking, "
        "alarms, methods, sweep, comparison, arms, ablations, ablation_seeds",
    ),
    "top": ({"armz": {}}, "armz: unknown key; did you mean 'arms'?"),
    "section": ({"rollout.num_prompt": 1}, "rollout.num_prompt: unknown key; did you mean 'num_prompts'?"),
    "section, far from any": (
        {"train.nonsense": 1},
        f"train.nonsense: unknown key; known are {TRAIN_KEYS}",
    ),
    "block in a block": (
        {"models.demo.student.widht": 64},
        "models.demo.student.widht: unknown key; did you mean 'width'?",
    ),
    "methods": ({"methods.omnipd": {}}, "methods.omnipd: unknown key; did you mean 'omniopd'?"),
    "methods.<m>": (
        {"methods.omniopd.chunk_length": 2},
        "methods.omniopd.chunk_length: unknown key; did you mean 'chunk_len'?",
    ),
    "arms.<a>": (
        {"arms.omniopd.setings": {}},
        "arms.omniopd.setings: unknown key; did you mean 'settings'?",
    ),
    "arms.<a>.settings": (
        {"arms.omniopd.settings": {"chunk_length": 2}},
        "arms.omniopd.settings.chunk_length: unknown key; did you mean 'chunk_len'?",
    ),
    "arms.<a>.train": (
        {"arms.omniopd.train": {"learning_rate": 1.0e-3}},
        f"arms.omniopd.train.learning_rate: unknown key; known are {TRAIN_KEYS}",
    ),
    "arms.<a>.rollout": (
        {"arms.omniopd.rollout": {"num_sample": 2}},
        "arms.omniopd.rollout.num_sample: unknown key; did you mean 'num_samples'?",
    ),
}


@pytest.mark.parametrize(("edits", "message"), UNKNOWN_KEYS.values(), ids=UNKNOWN_KEYS)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(
    tmp_path: Path, edits: dict[str, Any], message: str
):
    assert refusal(edited(tmp_path, edits)) == [f"params.yaml: {message}"]


WRONG_TYPES = {
    "word for a number": ({"train.lr": "fast"}, "train.lr: 'fast' should be a valid number"),
    "word for a count": (
        {"methods.omniopd.chunk_len": "fifty"},
        "methods.omniopd.chunk_len: 'fifty' should be a valid integer",
    ),
    "fraction for a count": (
        {"methods.omniopd.chunk_len": 2.5},
        "methods.omniopd.chunk_len: 2.5 should be a valid integer",
    ),
    "digits in quotes": ({"train.num_rounds": "200"}, "train.num_rounds: '200' should be a valid integer"),
    "true for a count": (
        {"methods.omniopd.chunk_len": True},
        "methods.omniopd.chunk_len: True should be a valid integer",
    ),
    "true for a number": ({"train.lr": True}, "train.lr: True should be a valid number"),
    "yes, a word in YAML 1.2": (
        {"tracking.enabled": "yes"},
        "tracking.enabled: 'yes' should be a valid boolean",
    ),
    "number for a name": ({"models.student": 7}, "models.student: 7 should be a valid string"),
    "infinity": ({"train.lr": float("inf")}, "train.lr: inf should be a finite number"),
    "not a number": (
        {"methods.omniopd.alpha": float("nan")},
        "methods.omniopd.alpha: nan should be a finite",
    ),
    "null": (
        {"methods.omniopd.baseline": None},
        "methods.omniopd.baseline: None should be 'none', 'batch' or 'prompt'",
    ),
    "list of words": ({"seeds": ["a"]}, "seeds.0: 'a' should be a valid integer"),
    "number for a list": ({"seeds": 0}, "seeds: 0 should be a valid list"),
}


@pytest.mark.parametrize(("edits", "start"), WRONG_TYPES.values(), ids=WRONG_TYPES)
def test_a_value_of_the_wrong_type_is_refused(tmp_path: Path, edits: dict[str, Any], start: str):
    [line] = refusal(edited(tmp_path, edits))

    assert line.startswith(f"params.yaml: {start}")
    assert "; " in line  # what to do


UNCLEAR = {
    "a seed twice": ({"seeds": [0, 0]}, ["seeds: ", "[0, 0]", "; "], []),
    "a negative seed": ({"seeds": [-1]}, ["seeds: ", "[-1]", "; "], []),
    **{
        f"a request with {place}": (
            {"teacher.request": request},
            ["teacher.request: ", repr(name), *remedy],
            [],
        )
        for place, request, name, remedy in (
            ("a limit of tokens", {"max_tokens": 9}, "max_tokens", ["set by every call", "chunk_len"]),
            (
                "a limit of tokens in its body",
                {"extra_body": {"n": 9}},
                "n",
                ["set by every call", "num_replies"],
            ),
            ("a stream", {"stream": True}, "stream", ["take it out"]),
            ("a temperature", {"temperature": 0}, "temperature", ["teacher.temperature"]),
            (
                "what a prefill needs",
                {"extra_body": {"continue_final_message": False}},
                "continue_final_message",
                ["way"],
            ),
            ("an address", {"Api-Base": "http://x"}, "Api-Base", ["teacher.base_url"]),
            (
                "a token as a header",
                {"extra_headers": {"X-Auth-Token": "s3cret"}},
                "X-Auth-Token",
                ["api_key_env"],
            ),
            ("a body that is none", {"extra_body": "top_k"}, "extra_body", ["str", "mapping"]),
        )
    },
    "a password in an address": (
        {"teacher.base_url": "http://me:s3cret@127.0.0.1:8000/v1"},
        ["teacher.base_url: ", "password", "teacher.api_key_env"],
        ["s3cret"],
    ),
    "no seeds": ({"seeds": []}, ["seeds: ", "empty", "; "], ["after validation"]),
    "no arms": ({"arms": {}}, ["arms: ", "empty", "; "], ["after validation"]),
    "no source of prompts": ({"prompts.source": ""}, ["prompts.source: ", "empty", "; "], ["character"]),
    "number for a section": ({"train": 3}, ["train: 3 ", "block of settings", "; "], ["instance of"]),
    "nothing in a section": (
        {"methods.omniopd": None},
        ["methods.omniopd: ", "block of settings", "; "],
        ["instance of"],
    ),
    "nothing in an arm": (
        {"arms.omniopd.settings": None},
        ["arms.omniopd.settings: ", "block of settings", "; "],
        ["dictionary"],
    ),
    "unknown kind of teacher": (
        {"teacher.kind": "openai"},
        ["teacher.kind: 'openai' ", "transformers", "package.module:Class"],
        ["pattern"],
    ),
    "answer pattern without a group": (
        {"evaluation.answer_pattern": ">.*$"},
        ["evaluation.answer_pattern: ", "'>.*$'", "no group", "; ", "parentheses"],
        [],
    ),
    "answer pattern that is none": (
        {"evaluation.answer_pattern": "(>"},
        ["evaluation.answer_pattern: ", "'(>'", "not a regular expression", "; "],
        [],
    ),
}


@pytest.mark.parametrize(("edits", "fragments", "jargon"), UNCLEAR.values(), ids=UNCLEAR)
def test_a_message_names_the_value_in_the_readers_words(
    tmp_path: Path, edits: dict[str, Any], fragments: list[str], jargon: list[str]
):
    [line] = refusal(edited(tmp_path, edits))

    assert line.startswith(f"params.yaml: {fragments[0].rstrip()}")
    for fragment in fragments:
        assert fragment in line
    for word in jargon:
        assert word not in line


def test_two_mistakes_are_two_lines(tmp_path: Path):
    edits = {"methods.omniopd.chunk_len": 0, "train.lr": -1.0}

    assert sorted(refusal(edited(tmp_path, edits))) == [
        "params.yaml: methods.omniopd.chunk_len: 0 is not positive; the published value is 50",
        "params.yaml: train.lr: -1.0 is not positive; give another value",
    ]


def test_mistakes_of_arms_are_reported_with_those_of_the_blocks_that_they_override(tmp_path: Path):
    edits = {
        "methods.omniopd.chunk_len": 0,
        "train.lr": -1.0,
        "arms.omniopd.settings": {"basline": "batch"},
        "arms.omniopd.train": {"lr": "fast"},
        "arms.omniopd.teacher": {"hint": 7},
    }

    assert sorted(refusal(edited(tmp_path, edits))) == [
        "params.yaml: arms.omniopd.settings.basline: unknown key; did you mean 'baseline'?",
        "params.yaml: arms.omniopd.teacher.hint: 7 should be a valid string; give another value",
        "params.yaml: arms.omniopd.train.lr: 'fast' should be a valid number; give another value",
        "params.yaml: methods.omniopd.chunk_len: 0 is not positive; the published value is 50",
        "params.yaml: train.lr: -1.0 is not positive; give another value",
    ]


def test_an_arm_named_by_a_number_must_be_quoted(tmp_path: Path):
    path = edited(tmp_path, {"arms": {7: {"method": "omniopd"}}})

    assert refusal(path) == ["params.yaml: arms: the name 7 is no text; put it in quotes"]


def test_the_mistakes_of_two_arms_are_two_lines(tmp_path: Path):
    edits = {"arms.omniopd.method": "no-such", "arms.omniopd-baseline.settings": {"basline": "batch"}}

    assert refusal(edited(tmp_path, edits)) == [
        f"params.yaml: arms.omniopd.method: no method is called 'no-such'; known are {METHODS}",
        "params.yaml: arms.omniopd-baseline.settings.basline: unknown key; did you mean 'baseline'?",
    ]


def test_chunks_longer_than_any_response_are_reported_for_each_arm(tmp_path: Path):
    path = edited(tmp_path, {"methods.omniopd.chunk_len": 50})
    problem = TOO_LONG.format(chunk_len=50, room=48)

    assert refusal(path) == [
        f"params.yaml: arms.omniopd (methods.omniopd): {problem}",
        f"params.yaml: arms.omniopd-baseline (methods.omniopd): {problem}",
    ]


def test_a_round_of_more_prompts_than_there_are_is_reported_for_the_arm_that_draws_them(tmp_path: Path):
    edits = {"prompts.num_train": 128, "arms.omniopd.rollout": {"num_prompts": 129}}

    assert refusal(edited(tmp_path, edits)) == [
        "params.yaml: arms.omniopd: a round asks 129 different prompts (rollout.num_prompts), and there are 128 "
        "(prompts.num_train); lower the one or raise the other"
    ]


def test_the_mistakes_of_one_arm_are_reported_together(tmp_path: Path):
    edits = {
        "arms.omniopd.train": {"lr": 0},
        "arms.omniopd.rollout": {"num_prompt": 1},
        "arms.omniopd.settings": {"chunk_length": 2},
    }

    assert sorted(refusal(edited(tmp_path, edits))) == [
        "params.yaml: arms.omniopd.rollout.num_prompt: unknown key; did you mean 'num_prompts'?",
        "params.yaml: arms.omniopd.settings.chunk_length: unknown key; did you mean 'chunk_len'?",
        "params.yaml: arms.omniopd.train.lr: 0 is not positive; give another value",
    ]
