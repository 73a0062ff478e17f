"""params.yaml: what is refused and in which words, what an arm overrides, what decides a run's results."""

import copy
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import pytest
from ruamel.yaml import YAML

from omniopd.config import Methods, Train, as_yaml, load_params, parsed, resolve
from omniopd.data.receipts import work_key
from omniopd.errors import ConfigError
from omniopd.methods import OmniOPD
from omniopd.settings import Key

ROOT = Path(__file__).parents[1]
TOO_LONG = (
    "chunk_len is {chunk_len}, longer than the longest response (rollout.max_new_tokens is {room}), "
    "so nothing would be audited; make chunks shorter or responses longer"
)
TRAIN_KEYS = ", ".join(Train.model_fields)
METHODS = ", ".join(Methods.model_fields)
REMOVED = object()
# What the messages below quote, so that they do not change with what the repository is tuned to.
PINNED: dict[str, Any] = {
    "seeds": [0],
    "ablations": {},
    "comparison.against": "omniopd",
    "methods.omniopd.chunk_len": 2,
    "methods.omniopd.beta": 0.1,
    "rollout.max_new_tokens": 48,
    "rollout.num_samples": 1,
    "rollout.batch_size": 128,
    "models.demo.teacher.width": 96,
    "arms": {
        "omniopd": {"method": "omniopd"},
        "omniopd-baseline": {"method": "omniopd", "settings": {"baseline": "batch"}},
    },
}


@cache
def _every_setting() -> str:
    return as_yaml(load_params(ROOT / "params.yaml"))


def edited(folder: Path, edits: Mapping[str, Any]) -> Path:
    """Every setting of the repository, with values replaced or removed by their dotted path, as a file in `folder`."""
    yaml = YAML(typ="safe", pure=True)
    raw = yaml.load(_every_setting())
    for place, value in {**copy.deepcopy(PINNED), **edits}.items():
        *parents, last = place.split(".")
        block = raw
        for name in parents:
            block = block[name]
        if value is REMOVED:
            del block[last]
        else:
            block[last] = value
    path = folder / "params.yaml"
    yaml.dump(raw, path)
    return path


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "params.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(path: Path) -> list[str]:
    """The lines of the error, each with the file's name alone in place of its path."""
    with pytest.raises(ConfigError) as caught:
        load_params(path)
    return str(caught.value).replace(str(path), path.name).splitlines()


# --- the file as it stands


def test_the_params_of_the_repository_are_valid():
    assert load_params(ROOT / "params.yaml").arms


def test_every_arm_of_the_repository_resolves_without_a_warning():
    params = load_params(ROOT / "params.yaml")

    for arm in params.arms:  # ablations leave out on purpose what a warning is about
        for seed in params.seeds:
            assert resolve(params, arm, seed).method.warnings(vocab_size=0) == []


# --- unknown keys, at every level

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


# --- ranges, missing values, arms

REFUSED = {
    "chunk_len zero": (
        {"methods.omniopd.chunk_len": 0},
        "methods.omniopd.chunk_len: 0 is not positive; the published value is 50",
    ),
    "num_replies negative": (
        {"methods.omniopd.num_replies": -3},
        "methods.omniopd.num_replies: -3 is not positive; the published value is 10",
    ),
    "beta negative": (
        {"methods.omniopd.beta": -0.1},
        "methods.omniopd.beta: -0.1 is negative; the published value is 0.1",
    ),
    "similarity unknown": (
        {"methods.omniopd.similarity": "bleu"},
        "methods.omniopd.similarity: 'bleu' should be 'edit', 'rouge1', 'exact' or 'embedding'; "
        "the published value is edit",
    ),
    "setting of an arm": (
        {"arms.omniopd.settings": {"chunk_len": 0}},
        "arms.omniopd.settings.chunk_len: 0 is not positive; the published value is 50",
    ),
    "a key among the settings of a request": (
        {"teacher.request": {"extra_headers": {"Authorization": "Bearer secret"}}},
        "teacher.request: 'Authorization' holds a key, and params are copied into every record; put it into the "
        "environment or .env, and its name into teacher.api_key_env",
    ),
    "lr zero": ({"train.lr": 0}, "train.lr: 0 is not positive; give another value"),
    "lr of an arm": (
        {"arms.omniopd.train": {"lr": -1.0}},
        "arms.omniopd.train.lr: -1.0 is not positive; give another value",
    ),
    "warm-up negative": (
        {"train.warmup_rounds": -1},
        "train.warmup_rounds: -1 is negative; give another value",
    ),
    "no sampling at temperature 0": (
        {"rollout.temperature": 0},
        "rollout.temperature: 0 is not positive; give another value",
    ),
    "no held-out prompts": (
        {"prompts.num_heldout": 0},
        "prompts.num_heldout: 0 is not positive; give another value",
    ),
    "a template without a place": (
        {"prompts.template": "Think."},
        "prompts.template: 'Think.' has no {prompt}; write that where the prompt goes",
    ),
    "an answer pattern without a group": (
        {"prompts.answer_pattern": "####.*"},
        "prompts.answer_pattern: '####.*' has no group; put the part that is the answer in parentheses",
    ),
    "n-grams of one word": (
        {"prompts.decontaminate": {"against": [], "ngram": 1}},
        "prompts.decontaminate.ngram: 1 should be greater than 1; give another value",
    ),
    "an evaluation set of unknown settings": (
        {"prompts.decontaminate": {"against": [{"source": "a.jsonl", "column": "q"}], "ngram": 13}},
        "prompts.decontaminate.against.0.column: unknown key; known are source, subset, split, prompt",
    ),
    "no column for the prompt": (
        {"prompts.columns": {"answer": "solution"}},
        "prompts.columns.prompt: is missing; add it, as in the params.yaml of the repository",
    ),
    "two learning rates": (
        {"arms.omniopd": {"method": "omniopd", "train": {"lr": 0.1}, "lr_of": "omniopd"}},
        "arms.omniopd: train.lr and lr_of both give a learning rate; delete one of the two",
    ),
    "the rate of an arm that is not swept": (
        {"arms.omniopd.lr_of": "omniopd", "arms.omniopd-baseline.lr_of": "omniodp"},
        "arms.omniopd-baseline.lr_of: 'omniodp' is no arm that is swept (one of `arms` whose lr_of is itself); "
        "did you mean 'omniopd'?",
    ),
    "an ablation that is called as an arm is": (
        {"ablations": {"omniopd": {"method": "omniopd"}}},
        "ablations.omniopd: an arm is called so too; rename one of the two",
    ),
    "an ablation of no method": (
        {"ablations": {"other": {"method": "omniodp"}}},
        "ablations.other.method: no method is called 'omniodp'; did you mean 'omniopd'?",
    ),
    "compared with no arm": (
        {"comparison.against": "opd"},
        "comparison.against: no arm is called 'opd'; did you mean 'omniopd'?",
    ),
    "a sweep that descends": (
        {"sweep.lrs": [0.2, 0.1]},
        "sweep.lrs: [0.2, 0.1] must ascend from above 0; fix the list",
    ),
    "a sweep on one seed twice": (
        {"sweep.seeds": [3, 3]},
        "sweep.seeds: [3, 3] must be different numbers, none negative; fix the list",
    ),
    "a range of starts upside down": (
        {"models.demo.start.lowest": 0.6, "models.demo.start.highest": 0.5},
        "models.demo.start: lowest 0.6 is above highest 0.5; give a range",
    ),
    "demo student starting at a percentage": (
        {"models.demo.start.highest": 50.0},
        "models.demo.start.highest: 50.0 should be less than or equal to 1; give another value",
    ),
    "no threads": (
        {"compute.num_threads": 0},
        "compute.num_threads: 0 is not positive; give another value",
    ),
    "value missing": (
        {"prompts.source": REMOVED},
        "prompts.source: is missing; add it, as in the params.yaml of the repository",
    ),
    "section missing": (
        {"prompts": REMOVED},
        "prompts: is missing; add it, as in the params.yaml of the repository",
    ),
    "method of an arm missing": (
        {"arms.omniopd.method": REMOVED},
        "arms.omniopd.method: is missing; add it, as in the params.yaml of the repository",
    ),
    "method of an arm misspelt": (
        {"arms.omniopd.method": "omniodp"},
        "arms.omniopd.method: no method is called 'omniodp'; did you mean 'omniopd'?",
    ),
    "method of an arm unknown": (
        {"arms.omniopd.method": "no-such"},
        f"arms.omniopd.method: no method is called 'no-such'; known are {METHODS}",
    ),
    "arm that cannot be a folder": (
        {"arms.a/b": {"method": "omniopd"}},
        "arms: 'a/b' cannot name a folder; use letters, digits, '.', '_' and '-'",
    ),
    "chunks of an arm longer than any response": (
        {"arms.omniopd.settings": {"chunk_len": 49}},
        f"arms.omniopd (methods.omniopd): {TOO_LONG.format(chunk_len=49, room=48)}",
    ),
    "responses of an arm shorter than a chunk": (
        {"arms.omniopd.rollout": {"max_new_tokens": 1}},
        f"arms.omniopd (methods.omniopd): {TOO_LONG.format(chunk_len=2, room=1)}",
    ),
    "samples of a prompt parted": (
        {"rollout.num_samples": 3},
        "rollout: batch_size 128 would part the 3 samples of a prompt; make it a multiple of num_samples",
    ),
    "samples of a prompt parted by an arm": (
        {"arms.omniopd.rollout": {"num_samples": 3}},
        "arms.omniopd.rollout: batch_size 128 would part the 3 samples of a prompt; "
        "make it a multiple of num_samples",
    ),
    "asleep while it writes": (
        {"rollout.overlap": 1, "rollout.engine_settings": {"enable_sleep_mode": True}},
        "rollout: overlap 1 writes while the trainer works, and with enable_sleep_mode one of them waits for the "
        "other; set overlap: 0, or take enable_sleep_mode out of engine_settings",
    ),
    "heads that do not divide the width": (
        {"models.demo.teacher.num_heads": 5},
        "models.demo.teacher: width 96 does not split into 5 heads of even size; make it a multiple of 10",
    ),
}


@pytest.mark.parametrize(("edits", "message"), REFUSED.values(), ids=REFUSED)
def test_a_mistake_is_one_line_with_the_place_what_was_found_and_what_to_do(
    tmp_path: Path, edits: dict[str, Any], message: str
):
    assert refusal(edited(tmp_path, edits)) == [f"params.yaml: {message}"]


# --- types: a value is what the file says, never turned into what was wanted

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


# --- where the checker's own words would say little

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
def test_a_message_names_what_was_found_in_the_readers_words(
    tmp_path: Path, edits: dict[str, Any], fragments: list[str], jargon: list[str]
):
    [line] = refusal(edited(tmp_path, edits))

    assert line.startswith(f"params.yaml: {fragments[0].rstrip()}")
    for fragment in fragments:
        assert fragment in line
    for word in jargon:
        assert word not in line


# --- everything in one go


def test_two_mistakes_are_two_lines(tmp_path: Path):
    edits = {"methods.omniopd.chunk_len": 0, "train.lr": -1.0}

    assert sorted(refusal(edited(tmp_path, edits))) == [
        "params.yaml: methods.omniopd.chunk_len: 0 is not positive; the published value is 50",
        "params.yaml: train.lr: -1.0 is not positive; give another value",
    ]


def test_mistakes_of_arms_are_told_beside_those_of_the_blocks_that_they_change(tmp_path: Path):
    edits = {
        "methods.omniopd.chunk_len": 0,
        "train.lr": -1.0,
        "arms.omniopd.settings": {"basline": "batch"},
        "arms.omniopd.train": {"lr": "fast"},
    }

    assert sorted(refusal(edited(tmp_path, edits))) == [
        "params.yaml: arms.omniopd.settings.basline: unknown key; did you mean 'baseline'?",
        "params.yaml: arms.omniopd.train.lr: 'fast' should be a valid number; give another value",
        "params.yaml: methods.omniopd.chunk_len: 0 is not positive; the published value is 50",
        "params.yaml: train.lr: -1.0 is not positive; give another value",
    ]


def test_an_arm_named_by_a_number_is_told_to_be_quoted(tmp_path: Path):
    path = edited(tmp_path, {"arms": {7: {"method": "omniopd"}}})

    assert refusal(path) == ["params.yaml: arms: the name 7 is no text; put it in quotes"]


def test_the_mistakes_of_two_arms_are_two_lines(tmp_path: Path):
    edits = {"arms.omniopd.method": "no-such", "arms.omniopd-baseline.settings": {"basline": "batch"}}

    assert refusal(edited(tmp_path, edits)) == [
        f"params.yaml: arms.omniopd.method: no method is called 'no-such'; known are {METHODS}",
        "params.yaml: arms.omniopd-baseline.settings.basline: unknown key; did you mean 'baseline'?",
    ]


def test_chunks_longer_than_any_response_are_told_for_each_arm(tmp_path: Path):
    path = edited(tmp_path, {"methods.omniopd.chunk_len": 50})
    problem = TOO_LONG.format(chunk_len=50, room=48)

    assert refusal(path) == [
        f"params.yaml: arms.omniopd (methods.omniopd): {problem}",
        f"params.yaml: arms.omniopd-baseline (methods.omniopd): {problem}",
    ]


def test_a_round_of_more_prompts_than_there_are_is_told_for_the_arm_that_asks_it(tmp_path: Path):
    edits = {"prompts.num_train": 128, "arms.omniopd.rollout": {"num_prompts": 129}}

    assert refusal(edited(tmp_path, edits)) == [
        "params.yaml: arms.omniopd: a round asks 129 different prompts (rollout.num_prompts), and there are 128 "
        "(prompts.num_train); lower the one or raise the other"
    ]


def test_the_mistakes_of_one_arm_are_told_together(tmp_path: Path):
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


# --- the file itself


def test_a_missing_file_says_where_to_run(tmp_path: Path):
    assert refusal(tmp_path / "params.yaml") == [
        "params.yaml: no such file; run in the folder that holds it, or pass --params"
    ]


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path):
    path = tmp_path / "params.yaml"
    path.mkdir()

    [line] = refusal(path)

    assert line.startswith("params.yaml: ")
    assert "directory" in line


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "- seeds\n", "just words\n"])
def test_a_file_without_settings_is_refused(tmp_path: Path, text: str):
    assert refusal(written(tmp_path, text)) == [
        "params.yaml: holds no settings; start from the params.yaml of the repository"
    ]


@pytest.mark.parametrize(
    "text",
    [b"seeds: [0", b"seeds: [0]\n\tmore: 1\n", b"seeds: [0]\nprompts: a: b\n", b"seeds: \xff\n"],
    ids=["bracket not closed", "tab", "two colons", "not UTF-8"],
)
def test_a_broken_file_is_refused_in_one_line(tmp_path: Path, text: bytes):
    [line] = refusal(written(tmp_path, text))

    assert line.startswith("params.yaml: not YAML: ")


@pytest.mark.parametrize(
    "value",
    ["!!float abc", "!!int ''", "!!bool maybe", "2001-99-99", "9" * 5000, r'"\U00110000"', r'"\UFFFFFFFF"',
     "{[{}]: 1}"],
)  # fmt: skip
def test_a_value_that_is_none_of_its_type_is_refused_in_one_line(tmp_path: Path, value: str):
    [line] = refusal(written(tmp_path, f"seeds: [0]\ntrain: {value}\n"))

    assert line.startswith("params.yaml: not YAML: ")
    with pytest.raises(ConfigError, match="not YAML; write path=value"):
        parsed([f"train={value}"])


@pytest.mark.parametrize(("value", "named"), [
    (r'"a\0b"', r"'a\x00b'"), (r'"\ud800"', r"'\ud800'"), ("1" * 400, "bits"), ("0x" + "f" * 5000, "bits"),
])  # fmt: skip
@pytest.mark.parametrize(
    "place", ["seeds: [{}]", "teacher: {{cache: {}}}", "arms: {{a: {{settings: [{}]}}}}"]
)
def test_what_no_file_name_or_database_takes_is_no_setting(
    tmp_path: Path, value: str, named: str, place: str
):
    [line] = refusal(written(tmp_path, place.format(value)))

    assert line.startswith("params.yaml: ")
    assert named in line


def test_a_key_that_stands_twice_is_refused_with_its_line(tmp_path: Path):
    [line] = refusal(written(tmp_path, "seeds: [0]\ntrain: {}\nseeds: [1]\n"))

    assert "'seeds'" in line or '"seeds"' in line
    assert "line 3" in line or "params.yaml:3:" in line
    assert "; " in line  # what to do
    assert "suppress" not in line  # and not how to have it accepted


def test_a_key_that_stands_twice_deep_inside_is_refused(tmp_path: Path):
    text = (ROOT / "params.yaml").read_text()
    path = tmp_path / "params.yaml"
    path.write_text(text.replace("    chunk_len: 2", "    chunk_len: 2\n    chunk_len: 3"))

    [line] = refusal(path)

    assert 'found duplicate key "chunk_len"' in line


@pytest.mark.parametrize("number", ["2e-4", "2.0e-4", "0.0002"])
def test_a_number_in_powers_of_ten_is_a_number(tmp_path: Path, number: str):
    path = edited(tmp_path, {"train.lr": "NUMBER"})
    path.write_text(path.read_text().replace("NUMBER", number))

    assert load_params(path).train.lr == 2e-4


# --- one run


def test_an_arm_overrides_what_it_names_and_nothing_else(tmp_path: Path):
    edits = {
        "arms.omniopd.settings": {"baseline": "batch", "num_replies": 1},
        "arms.omniopd.train": {"lr": 1.0e-3},
        "arms.omniopd.rollout": {"max_new_tokens": 40},
    }
    params = load_params(edited(tmp_path, edits))

    config = resolve(params, "omniopd", 3)

    assert (config.arm, config.seed, config.method_name) == ("omniopd", 3, "omniopd")
    block = params.methods.omniopd
    assert config.method == block.model_copy(update={"baseline": "batch", "num_replies": 1})
    assert config.train == params.train.model_copy(update={"lr": 1.0e-3})
    assert config.rollout == params.rollout.model_copy(update={"max_new_tokens": 40})
    for name in ("prompts", "models", "teacher", "evaluation", "compute", "tracking"):
        assert getattr(config, name) == getattr(params, name)


def test_an_arm_leaves_the_blocks_and_the_other_arms_as_they_were(tmp_path: Path):
    params = load_params(edited(tmp_path, {"arms.omniopd.settings": {"chunk_len": 5}}))
    before = params.model_dump()

    resolve(params, "omniopd", 0)

    assert params.model_dump() == before
    assert resolve(params, "omniopd-baseline", 0).method.audit(shares_tokens=True).chunk_len == 2


TWELVE_LINES = """\
prompts: { source: sums.jsonl, num_train: 900 }
models: { student: Qwen/Qwen3-1.7B }
teacher:
  kind: api
  model: anthropic/claude-haiku-4-5
  budget_usd: 20.0
rollout: { max_new_tokens: 1024 }
train: { num_rounds: 28, lr: 2.0e-6 }
arms:
  sft: { method: sft }
  omniopd-fork: { method: fork }
"""


def test_a_file_of_twelve_lines_is_whole(tmp_path: Path):
    path = written(tmp_path, TWELVE_LINES)
    params = load_params(path)

    assert (params.seeds, params.evaluation.grader) == ([0], "math")
    assert params.runs == [("sft", 0), ("omniopd-fork", 0)]
    assert resolve(params, "omniopd-fork", 0).train.lr == 2e-6
    assert load_params(path, {"compute.num_threads": 1, "sweep.seeds": [7]}).compute.num_threads == 1
    again = written(tmp_path, as_yaml(params))
    assert load_params(again) == params
    assert "max_failed_share: 0.02" in again.read_text()


def test_a_setting_left_out_has_its_published_value(tmp_path: Path):
    path = edited(tmp_path, {"methods.omniopd": {"chunk_len": 2}})

    method = resolve(load_params(path), "omniopd", 0).method

    assert method == OmniOPD(
        num_chunks=10,
        num_replies=10,
        chunk_len=2,
        alpha=1.0,
        beta=0.1,
        similarity="edit",
        selection="peak_entropy",
        baseline="none",
    )


def test_an_arm_that_does_not_exist_is_refused_with_the_nearest(tmp_path: Path):
    params = load_params(edited(tmp_path, {}))

    with pytest.raises(ConfigError) as caught:
        resolve(params, "omniopd-basline", 0)
    assert str(caught.value) == (
        "params.yaml: arms.omniopd-basline: no such arm; did you mean 'omniopd-baseline'?"
    )
    with pytest.raises(ConfigError) as caught:
        resolve(params, "nope", 0, file="other.yaml")
    assert str(caught.value) == "other.yaml: arms.nope: no such arm; known are omniopd, omniopd-baseline"


def test_the_resolved_settings_are_plain_values_and_whole(tmp_path: Path):
    edits = {"arms.omniopd.train": {"lr": 1.0e-3}, "rollout.num_shards": 3, "tracking.experiment": "mine"}
    config = resolve(load_params(edited(tmp_path, edits)), "omniopd", 0)

    settings = config.resolved()

    assert json.loads(json.dumps(settings)) == settings
    assert settings["method"]["chunk_len"] == 2
    assert settings["train"]["lr"] == 1.0e-3
    assert settings["rollout"]["num_shards"] == 3
    assert settings["tracking"]["experiment"] == "mine"


CHANGES_NOTHING = {
    "shards": {"rollout.num_shards": 2},
    "shards of the arm": {"arms.omniopd.rollout": {"num_shards": 2}},
    "what an engine that is not taken would be given": {"rollout.engine_settings": {"dtype": "bfloat16"}},
    "tracking off": {"tracking.enabled": False},
    "alarms": {"alarms.cut_share": None, "alarms.grad_norm": 2.0},
    "where tracking goes": {"tracking.uri": "sqlite:///other.db", "tracking.experiment": "other"},
    "a setting of another arm": {"arms.omniopd-baseline.settings": {"beta": 0.2}},
    "the setting that the arm has anyhow": {"arms.omniopd.settings": {"beta": 0.1}},
    "more seeds": {"seeds": [0, 1]},
    "one more arm": {"arms.third": {"method": "omniopd"}},
}


@pytest.mark.parametrize("edits", CHANGES_NOTHING.values(), ids=CHANGES_NOTHING)
def test_shards_tracking_alarms_and_other_arms_do_not_decide_the_results(
    tmp_path: Path, edits: dict[str, Any]
):
    before = resolve(load_params(edited(tmp_path, {})), "omniopd", 0)
    after = resolve(load_params(edited(tmp_path, edits)), "omniopd", 0)

    assert after.determining() == before.determining()


CHANGES_RESULTS = {
    "lr of the arm": {"arms.omniopd.train": {"lr": 1.0e-3}},
    "setting of the method": {"methods.omniopd.beta": 0.2},
    "setting of the arm": {"arms.omniopd.settings": {"alpha": 2.0}},
    "number of prompts": {"rollout.num_prompts": 64},
    "batch size, by rounding": {"rollout.batch_size": 64},
    "who writes the responses": {"rollout.engine": "vllm"},
    "whether responses are written ahead": {"rollout.overlap": 1},
    "whose entropies choose": {"rollout.selection_entropy": "engine"},
    "threads, by rounding": {"compute.num_threads": 1},
    "temperature of the teacher": {"teacher.temperature": 0.5},
    "student": {"models.student": "elsewhere"},
    "source of prompts": {"prompts.source": "prompts.jsonl"},
}


def test_runs_from_before_samplers_had_scores_keep_their_keys(tmp_path: Path):
    config = resolve(load_params(edited(tmp_path, {})), "omniopd", 0)

    assert "selection_entropy" not in config.determining()["rollout"]


class WithMore(OmniOPD):
    """A method that got a setting after runs of it were made."""

    added: Annotated[float, Key.IF_CHANGED] = 0.5
    free: Annotated[int, Key.NEVER] = 1


def test_a_setting_that_is_added_changes_no_key_until_it_is_changed(tmp_path: Path):
    config = resolve(load_params(edited(tmp_path, {})), "omniopd", 0)

    def settings(**more: Any) -> dict[str, Any]:
        method = WithMore(**config.method.model_dump(), **more)
        return config.model_copy(update={"method": method}).determining()

    assert settings() == settings(added=0.5) == settings(free=2) == config.determining()
    assert settings(added=0.6)["method"] == config.determining()["method"] | {"added": 0.6}


def test_the_keys_of_earlier_runs_are_kept(tmp_path: Path):
    """Where this fails, a setting was added that enters every key: mark it Key.IF_CHANGED. Or a default changed."""
    params = load_params(written(tmp_path, "prompts: { source: addition }\narms: { a: { method: fork } }"))

    assert work_key(resolve(params, "a", 0).determining()) == "d434fa792da48675"


@pytest.mark.parametrize("edits", CHANGES_RESULTS.values(), ids=CHANGES_RESULTS)
def test_every_other_setting_decides_the_results(tmp_path: Path, edits: dict[str, Any]):
    before = resolve(load_params(edited(tmp_path, {})), "omniopd", 0)
    after = resolve(load_params(edited(tmp_path, edits)), "omniopd", 0)

    assert after.determining() != before.determining()


def test_what_the_engine_is_given_decides_the_results(tmp_path: Path):
    found = [
        resolve(
            load_params(edited(tmp_path, {"rollout.engine": "vllm", **edits})), "omniopd", 0
        ).determining()
        for edits in ({}, {"rollout.engine_settings": {"dtype": "bfloat16"}}, {"rollout.num_shards": 2})
    ]

    assert found[0] != found[1]
    assert found[0] == found[2]


@pytest.mark.parametrize(
    ("edits", "named"),
    [
        ({"compute.where": {"roll_out": "process"}}, "compute.where.roll_out"),
        ({"compute.dask": "processes:2"}, "compute.dask"),
    ],
)
def test_an_engine_that_lives_for_the_run_cannot_be_in_other_processes(
    tmp_path: Path, edits: dict[str, Any], named: str
):
    with pytest.raises(ConfigError) as caught:
        load_params(edited(tmp_path, {"rollout.engine": "vllm", **edits}))

    [line, *_] = str(caught.value).splitlines()
    assert line.endswith(
        "arms.omniopd: rollout.engine vllm lives in the flow's own process for the whole run, and "
        f"{named} makes rollouts in others; take {named} out of params.yaml, or take transformers"
    )
    load_params(edited(tmp_path, {"rollout.engine": "vllm", "compute.where": {"train": "process"}}))


def test_the_seed_decides_the_results(tmp_path: Path):
    params = load_params(edited(tmp_path, {}))

    assert resolve(params, "omniopd", 0).determining() != resolve(params, "omniopd", 1).determining()


def test_determining_leaves_the_record_of_all_settings_whole(tmp_path: Path):
    config = resolve(load_params(edited(tmp_path, {})), "omniopd", 0)
    before = config.resolved()

    config.determining()

    assert config.resolved() == before


# --- warnings


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


# --- methods


@pytest.mark.parametrize(
    ("edits", "line"),
    [
        (
            {"arms.omniopd.train": {"steps_per_round": 2}},
            "params.yaml: arms.omniopd (methods.omniopd): train.steps_per_round is 2, and this method learns from what "
            "the student would write now, which after one step is no longer what was rolled out; set it to 1",
        ),
        (
            {"arms.omniopd": {"method": "sft", "train": {"steps_per_round": 129}}},
            "params.yaml: arms.omniopd: a round of 128 responses cannot be split over train.steps_per_round = 129; "
            "lower it",
        ),
        (
            {"arms.omniopd": {"method": "grpo"}},
            "params.yaml: arms.omniopd (methods.grpo): rollout.num_samples is 1, and a reward is compared with those "
            "of other responses to the same prompt; give the arm `rollout: { num_samples: 8 }` or the like",
        ),
        (
            {"arms.omniopd.settings": {"baseline": "prompt"}},
            "params.yaml: arms.omniopd (methods.omniopd): baseline is 'prompt', and rollout.num_samples is 1: a "
            "prompt's one response has no other to be compared with; raise num_samples, or take the baseline 'batch'",
        ),
        (
            {"arms.omniopd.settings": {"spare_tokens": 2}},
            "params.yaml: arms.omniopd (methods.omniopd): spare_tokens are asked for and compared as if they were the "
            "chunk's; set clip_replies: true",
        ),
        (
            {"arms.omniopd": {"method": "fork", "settings": {"chunk_len": 49}}},
            f"params.yaml: arms.omniopd (methods.fork): {TOO_LONG.format(chunk_len=49, room=48)}",
        ),
        (
            {"arms.omniopd": {"method": "fork", "settings": {"alpha": 0.0}}},
            "params.yaml: arms.omniopd.settings.alpha: 0.0 is not positive; the default is 1.0",
        ),
        (
            {"arms.omniopd": {"method": "no_such_package:Method"}},
            "params.yaml: arms.omniopd.method: 'no_such_package:Method' cannot be imported (No module named "
            "'no_such_package'); fix it, or install its package",
        ),
        (
            {"arms.omniopd": {"method": "math:tau"}},
            "params.yaml: arms.omniopd.method: 'math:tau' is no omniopd.methods.Method; derive the class from it",
        ),
    ],
)
def test_what_a_method_cannot_do_is_refused(tmp_path: Path, edits: dict[str, Any], line: str):
    assert refusal(edited(tmp_path, edits)) == [line]


DEEP = {
    "maps in one line": "a: " + "{a: " * 1500 + "1" + "}" * 1500,
    "maps in lines": "\n".join(" " * i + "a:" for i in range(1500)),
    "lists": "a: " + "[" * 1500 + "]" * 1500,
    "lists in lines": "a:\n" + "\n".join(" " * i + "-" for i in range(1500)),
    "never closed": "a: " + "[{" * 700,
    "a cycle": "a: &a {b: *a}",
}


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
def test_settings_that_nest_without_end_are_refused_in_one_line(tmp_path: Path, text: str):
    with pytest.raises(ConfigError) as caught:
        load_params(written(tmp_path, text))
    [line] = str(caught.value).splitlines()
    assert line.startswith(f"{tmp_path}/params.yaml: settings nest in more than 50 levels")


def test_overrides_that_nest_without_end_are_refused_in_one_line(tmp_path: Path):
    with pytest.raises(ConfigError, match="nest in more than 50 levels"):
        parsed(["train.lr=" + "{a: " * 1500 + "1" + "}" * 1500])
    cycle: dict[str, Any] = {}
    cycle["a"] = cycle
    for overrides in ({"train" + ".a" * 3000: 1}, {"train.lr": cycle}):
        with pytest.raises(ConfigError) as caught:
            load_params(edited(tmp_path, {}), overrides)
        [line] = str(caught.value).splitlines()
        assert line.startswith("overrides: train.")
        assert len(line) < 200


@pytest.mark.parametrize(
    "name", ["a" * 101, "a" * 300, "a/b", "../a", "a\nb", "a\0b", "..", "", "a b", "a-0.lr-0.1"]
)
def test_an_arm_whose_name_cannot_name_its_folder_is_refused(tmp_path: Path, name: str):
    with pytest.raises(ConfigError) as caught:
        load_params(edited(tmp_path, {"arms": {name: {"method": "omniopd"}}, "comparison.against": None}))
    [line] = str(caught.value).splitlines()
    assert "arms: " in line
    assert len(line) < 300
    load_params(edited(tmp_path, {"arms": {"a" * 100: {"method": "omniopd"}}, "comparison.against": None}))
