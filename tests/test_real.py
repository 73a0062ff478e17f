"""`make real`: its prompts, its grader and its settings; the runs themselves take minutes and a real model."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from projects import REPOSITORY

from omniopd.config import load_params, resolve
from omniopd.data.layout import Layout
from omniopd.data.prompts import Prompt
from omniopd.grading.graders import Case, grader_of
from omniopd.rounds.sweep import chosen_rate

REAL = REPOSITORY / "real"
ANSWER = '{"who": "Grace", "where": "Chicago", "day": "Saturday"}'


@pytest.fixture(scope="module")
def params():
    return load_params(REAL / "params.yaml")


def sentences(folder: Path, *count: str) -> list[dict[str, Any]]:
    subprocess.run([sys.executable, REAL / "sentences.py", *count], cwd=folder, check=True)
    return [json.loads(line) for line in (folder / "sentences.jsonl").read_text().splitlines()]


def test_sentences_are_different_and_say_what_their_records_do(tmp_path: Path, params):
    rows = sentences(tmp_path)
    assert len({row["prompt"] for row in rows}) == len(rows) == 1200
    assert all(value in row["prompt"] for row in rows for value in json.loads(row["answer"]).values())
    shown = {message.content for message in params.teacher.context}
    assert not shown & {row["prompt"] for row in rows}
    assert sentences(tmp_path, "1300")[:1200] == rows


@pytest.mark.parametrize(
    ("response", "is_right"),
    [
        (ANSWER, True),
        (' {"day": "Saturday",\n "who": "Grace", "where": "Chicago"}\n', True),
        (ANSWER.replace("Grace", "Tom"), False),
        (ANSWER.replace('"day"', '"when"'), False),
        (f"Here it is: {ANSWER}", False),
        (f"[{ANSWER}]", False),
        ("Grace", False),
        ("", False),
    ],
)
def test_a_response_is_right_where_it_is_the_record(monkeypatch, params, response: str, is_right: bool):
    monkeypatch.syspath_prepend(REAL)
    case = Case(Prompt("p", "Grace will visit Chicago next Saturday.", ANSWER), response, finished=True)
    [grade] = grader_of(params.evaluation).grade([case])
    assert grade.is_right == is_right


def test_arms_differ_in_what_they_compare_alone(params):
    configs = {arm: resolve(params, arm, 0) for arm in params.arms}
    steps = {arm: config.train.num_rounds for arm, config in configs.items()}
    assert {arm for arm, rounds in steps.items() if rounds != 12} == {"sft-short"}
    assert {config.train.num_rounds * config.train.steps_per_round for config in configs.values()} == {12}
    assert configs["fork-self"].teacher.context == []
    assert all(config.teacher.context for arm, config in configs.items() if arm != "fork-self")
    assert all(arm.lr_of for arm in params.arms.values())


@pytest.mark.parametrize("size", ["LARGE", "TINY"])
def test_settings_of_the_gpu_campaign_load(monkeypatch, tmp_path: Path, size: str):
    monkeypatch.syspath_prepend(REAL)
    campaign = importlib.import_module("gpu_campaign")
    params = load_params(campaign.project(tmp_path, getattr(campaign, size)))
    assert list(params.every_arm) == list(campaign.ARMS)
    assert all(chosen_rate(params, arm, Layout(tmp_path / "project")) for arm in campaign.ARMS)
