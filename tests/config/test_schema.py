"""Settings that are refused: values out of range, missing values, names of arms, and combinations."""

from pathlib import Path
from typing import Any

import pytest
from params_files import METHODS, REMOVED, TOO_LONG, edited, refusal

from omniopd.config import Evaluation, load_params
from omniopd.data.decoding import Decoding
from omniopd.errors import ConfigError

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
    "a system message of benchmarks that is white space": (
        {"benchmarks.system": " "},
        "benchmarks.system: ' ' is white space; write '' for no system message",
    ),
    "a system message without text": (
        {"prompts.system": " "},
        "prompts.system: is empty; write some text, or leave it out",
    ),
    "an example without a response": (
        {"prompts.examples": [{"prompt": "2+2="}]},
        "prompts.examples.0.response: is missing; add it, as in the params.yaml of the repository",
    ),
    "all tokens left out": ({"rollout.top_p": 0.0}, "rollout.top_p: 0.0 is not positive; give another value"),
    "no likeliest token": (
        {"benchmarks.top_k": 0},
        "benchmarks.top_k: 0 is not positive; give another value",
    ),
    "a stop string that ends every response": (
        {"rollout.stop": ["Q:", ""]},
        "rollout.stop: holds an empty string, which ends every response; delete it",
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
        "arms.omniopd-baseline.lr_of: 'omniodp' is not a swept arm (one of `arms` whose lr_of is itself); "
        "did you mean 'omniopd'?",
    ),
    "an ablation that is called as an arm is": (
        {"ablations": {"omniopd": {"method": "omniopd"}}},
        "ablations.omniopd: an arm has the same name; rename one of the two",
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
        "rollout: batch_size 128 would split the 3 samples of a prompt; make it a multiple of num_samples",
    ),
    "samples of a prompt parted by an arm": (
        {"arms.omniopd.rollout": {"num_samples": 3}},
        "arms.omniopd.rollout: batch_size 128 would split the 3 samples of a prompt; "
        "make it a multiple of num_samples",
    ),
    "asleep while it writes": (
        {"rollout.overlap": 1, "rollout.engine_settings": {"enable_sleep_mode": True}},
        "rollout: overlap 1 samples during training, and with enable_sleep_mode one of them waits for the "
        "other; set overlap: 0, or take enable_sleep_mode out of engine_settings",
    ),
    "heads that do not divide the width": (
        {"models.demo.teacher.num_heads": 5},
        "models.demo.teacher: width 96 does not split into 5 heads of even size; make it a multiple of 10",
    ),
}


@pytest.mark.parametrize(("edits", "message"), REFUSED.values(), ids=REFUSED)
def test_a_mistake_is_one_line_with_the_setting_its_value_and_the_remedy(
    tmp_path: Path, edits: dict[str, Any], message: str
):
    assert refusal(edited(tmp_path, edits)) == [f"params.yaml: {message}"]


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


def test_held_out_prompts_are_answered_greedily_and_as_evaluation_says():
    evaluation = Evaluation(temperature=0.6, top_p=0.95, top_k=20, min_p=0.1)
    assert evaluation.decodings(["Q:"]) == {
        "greedy": Decoding(0.0, stop=("Q:",)),
        "sampled": Decoding(0.6, 0.95, 20, 0.1, ("Q:",)),
    }
    assert Evaluation().decodings([])["sampled"] == Decoding()
