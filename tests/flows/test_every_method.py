"""Every method through the flow's own loop: to its end, and interrupted, with what it records on the way."""

import json
import math
import re
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from projects import REPOSITORY, Project, digests, run_plain
from quick import quick

from omniopd.data.metrics import FAMILIES, METRICS
from omniopd.data.receipts import write_receipt
from omniopd.data.records import STUDENT, Reward, Trajectory, Verdict
from omniopd.data.store import read_json, read_records
from omniopd.models.loading import load_model, weights_digest
from omniopd.rounds import run as runs
from omniopd.rounds import steps as rounds

GROUPS = {"num_prompts": 3, "num_samples": 4}
ARMS: dict[str, dict[str, Any]] = {
    "sft": {"method": "sft"},
    "sft-t1": {"method": "sft", "settings": {"temperature": 1.0}, "train": {"steps_per_round": 3}},
    "grpo": {
        "method": "grpo",
        "settings": {"beta": 0.0},
        "rollout": GROUPS,
        "train": {"steps_per_round": 2, "schedule": "cosine"},
    },
    "grpo-anchored": {"method": "grpo", "settings": {"beta": 0.1}, "rollout": GROUPS},
    "opd": {"method": "opd"},
    "opd-sampled": {"method": "opd", "settings": {"form": "sampled"}},
    "fork": {"method": "fork"},
    "fork-chunks": {"method": "fork", "settings": {"num_chunks": 4, "chunk_len": 4, "spare_tokens": 2}},
    "omniopd-ahead": {"method": "omniopd", "rollout": {"overlap": 1}},
    "grpo-ahead": {"method": "grpo", "rollout": {**GROUPS, "overlap": 1}, "train": {"steps_per_round": 2}},
    "opd-sampled-ahead": {"method": "opd", "settings": {"form": "sampled"}, "rollout": {"overlap": 1}},
    "omniopd-options": {
        "method": "omniopd",
        "settings": {
            "baseline": "prompt",
            "replies_at_once": 2,
            "num_replies": 6,
            "clip_replies": True,
            "spare_tokens": 1,
        },
        "rollout": GROUPS,
    },
}


def metrics_of(project: Project, arm: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in (project.run_dir(arm) / "metrics.jsonl").read_text().splitlines()]


def trajectories_of(project: Project, arm: str, round_: int = 1) -> list[Trajectory]:
    path = project.run_dir(arm) / "trajectories" / f"round-{round_:04d}.parquet"
    return read_records(path, Trajectory)


def verdicts_of(project: Project, arm: str, round_: int = 1) -> list[Verdict]:
    return read_records(project.run_dir(arm) / "verdicts" / f"round-{round_:04d}.parquet", Verdict)


def rewarding(project: Project) -> Project:
    """The project with answers that such a student gives now and then: any finished response with a 1 in it."""
    path = project.root / "data" / "seed-0" / "train.jsonl"
    rows = [{**json.loads(line), "answer": "1"} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    receipt = path.with_name("receipt.json")  # as if `prepare` had made them so
    write_receipt(
        receipt, key=read_json(receipt)["key"], files=sorted(path.parent.glob("*.jsonl")), base=path.parent
    )
    return project.edit(arms=ARMS, evaluation__answer_pattern="(1)")


class Finished(Project):
    """A project in which an arm runs to its end when it is first asked for."""

    def run_dir(self, arm: str = "omniopd", seed: int = 0) -> Path:
        if arm not in _finished_arms:
            run_plain(self.params_file, arm)
            _finished_arms.add(arm)
        return super().run_dir(arm, seed)


_finished_arms: set[str] = set()


@pytest.fixture(scope="module")
def finished(base_project: Project, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    _finished_arms.clear()
    project = rewarding(base_project.copied_to(tmp_path_factory.mktemp("methods") / "project"))
    return Finished(project.root)


@pytest.mark.slow
@pytest.mark.parametrize("arm", ARMS)
def test_a_run_that_is_interrupted_goes_on_to_the_same_bytes(
    base_project: Project, finished: Project, tmp_path, monkeypatch: pytest.MonkeyPatch, arm: str
):
    """The state of round 3 is rebuilt from the checkpoint of round 2 and the round recorded since."""
    project = rewarding(base_project.copied_to(tmp_path / "project"))
    train = rounds.train

    def interrupted(run_dir, round_, accuracy):
        if round_ == 3:
            raise KeyboardInterrupt
        return train(run_dir, round_, accuracy)

    with monkeypatch.context() as patch:
        patch.setattr(rounds, "train", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_plain(project.params_file, arm)
    monkeypatch.setattr(runs, "_open_runs", {})
    run_plain(project.params_file, arm)

    assert digests(project.run_dir(arm)) == digests(finished.run_dir(arm))


@pytest.mark.parametrize("arm", quick(list(ARMS), keep=["sft", "grpo", "opd", "fork", "omniopd-options"]))
def test_every_round_is_recorded_in_finite_numbers_under_the_same_names(finished: Project, arm: str):
    *recorded, last = metrics_of(finished, arm)
    of_accuracy = {"validation/greedy", "accuracy_drop", "alarm/accuracy_drop"}  # where it is measured
    names = {frozenset(row) - of_accuracy for row in recorded}

    assert len(recorded) == 5
    assert len(names) == 1
    assert {"loss", "grad_norm", "entropy", "response_len", "trained_tokens"} < names.pop()
    assert all(math.isfinite(value) for row in recorded for value in row.values())
    assert all(row["grad_norm"] > 0 for row in recorded)
    assert last.keys() == {"round", *of_accuracy}
    known = (*METRICS, "round")
    assert [name for name in recorded[0] if name not in known and not name.startswith(tuple(FAMILIES))] == []


@pytest.mark.parametrize("arm", quick(["sft", "sft-t1"], keep=["sft"]))
def test_sft_trains_on_what_the_teacher_wrote_and_generates_nothing(finished: Project, arm: str):
    row = metrics_of(finished, arm)[1]
    written = trajectories_of(finished, arm)

    assert {item.writer for item in written} == {"demo"}
    assert row["student_tokens"] == 0
    assert row["trained_tokens"] == sum(len(item.response_ids) for item in written)
    assert row["teacher_tokens"] == sum(item.teacher_tokens for item in written) > 0


@pytest.mark.slow
def test_at_temperature_0_a_prompt_has_one_solution_and_at_1_another(finished: Project):
    greedy, sampled = (
        {item.prompt_id: item.response for item in trajectories_of(finished, arm)}
        for arm in ("sft", "sft-t1")
    )
    assert greedy.keys() == sampled.keys()
    assert greedy != sampled


@pytest.mark.parametrize("arm", quick(["grpo", "grpo-anchored"], keep=["grpo"]))
def test_grpo_is_rewarded_for_right_answers_and_asks_no_teacher(finished: Project, arm: str):
    recorded = metrics_of(finished, arm)[:-1]
    rewards = read_records(finished.run_dir(arm) / "rewards" / "round-0001.parquet", Reward)

    assert [reward.id for reward in rewards] == [item.id for item in trajectories_of(finished, arm)]
    assert {reward.reward for reward in rewards} == {0.0, 1.0}
    assert recorded[1]["reward/mean"] == sum(reward.reward for reward in rewards) / len(rewards)
    assert all(row["teacher_tokens"] == 0 for row in recorded)
    assert ("anchor_kl" in recorded[0]) == (arm == "grpo-anchored")


@pytest.mark.parametrize("arm", quick(["opd", "opd-sampled"], keep=["opd"]))
def test_opd_buys_no_text_and_writes_down_none_of_the_teachers_distributions(finished: Project, arm: str):
    assert all(row["teacher_tokens"] == 0 for row in metrics_of(finished, arm)[:-1])
    assert {item.writer for item in trajectories_of(finished, arm)} == {STUDENT}
    assert list((finished.run_dir(arm) / "verdicts").iterdir()) == []


@pytest.mark.parametrize(
    ("arm", "num_chunks", "chunk_len"),
    [("fork", 8, 1), pytest.param("fork-chunks", 4, 4, marks=pytest.mark.slow)],
)
def test_fork_keeps_the_tokens_that_it_learns_from(
    finished: Project, arm: str, num_chunks: int, chunk_len: int
):
    verdicts = verdicts_of(finished, arm)
    row = metrics_of(finished, arm)[1]

    assert row["audits"] == len(verdicts) <= num_chunks * len(trajectories_of(finished, arm))
    assert all(len(ids) <= chunk_len for verdict in verdicts for ids in verdict.reply_ids)
    assert any(ids for verdict in verdicts for ids in verdict.reply_ids)
    special = len("0123456789+=;>")  # and above: tokens without text, which no text brings back
    prefixes = {item.id: item.response_ids for item in trajectories_of(finished, arm)}
    for verdict in verdicts:
        prefix = prefixes[verdict.trajectory_id][: verdict.anchor]
        assert verdict.boundary == any(token >= special for token in prefix)
    assert 0 < row["boundaries"] == sum(verdict.boundary for verdict in verdicts) < len(verdicts)
    assert 0 < row["audited_share"] < 1


def test_omniopd_draws_no_more_replies_than_it_needs(finished: Project):
    numbers = {
        verdict.num_replies
        for round_ in range(5)
        for verdict in verdicts_of(finished, "omniopd-options", round_)
    }
    assert numbers <= {2, 4, 6}
    assert len(numbers) > 1


@pytest.mark.slow
@pytest.mark.parametrize("arm", [arm for arm in ARMS if arm.endswith("-ahead")])
def test_responses_written_ahead_are_of_the_weights_one_round_old_and_say_so(finished: Project, arm: str):
    written = [trajectories_of(finished, arm, round_) for round_ in range(5)]
    *recorded, _ = metrics_of(finished, arm)

    assert [{item.staleness for item in of_round} for of_round in written] == [{0}, {1}, {1}, {1}, {1}]
    assert [row["staleness"] for row in recorded] == [0, 1, 1, 1, 1]
    weights = [of_round[0].student for of_round in written]
    assert all(
        item.student == name for of_round, name in zip(written, weights, strict=True) for item in of_round
    )
    assert weights[0] == weights[1]
    assert len(set(weights)) == 4
    before_2 = finished.run_dir(arm) / "checkpoints" / "round-0002"
    assert weights[3] == weights_digest(load_model(str(before_2)))


@pytest.mark.slow
def test_the_next_responses_are_written_while_a_round_is_trained_on(
    base_project: Project, tmp_path, monkeypatch: pytest.MonkeyPatch
):
    project = rewarding(base_project.copied_to(tmp_path / "project"))
    train, roll_out, rolled = rounds.train, rounds.roll_out, [threading.Event() for _ in range(6)]

    def waiting(run_dir, round_, accuracy):
        assert round_ == 4 or rolled[round_ + 1].wait(30)
        return train(run_dir, round_, accuracy)

    def recorded(run_dir, round_, index):
        path = roll_out(run_dir, round_, index)
        rolled[round_].set()
        return path

    monkeypatch.setattr(rounds, "train", waiting)
    monkeypatch.setattr(rounds, "roll_out", recorded)
    run_plain(project.params_file, "omniopd-ahead")


def test_the_method_of_the_guide_runs_from_beside_params_yaml(
    base_project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """docs/adding-a-method.md, word for word."""
    project = base_project.copied_to(tmp_path / "project")
    guide = (REPOSITORY / "docs" / "adding-a-method.md").read_text(encoding="utf-8")
    code = re.search(r"    # my_lab/reinforce.py\n((?:    .*\n|\n)+)", guide)
    assert code is not None
    monkeypatch.delitem(sys.modules, "my_lab", raising=False)  # of the guide to teachers
    (project.root / "my_lab").mkdir()
    (project.root / "my_lab" / "reinforce.py").write_text(re.sub(r"^    ", "", code[1], flags=re.MULTILINE))
    arm = {
        "method": "my_lab.reinforce:Reinforce",
        "settings": {"baseline": 0.3},
        "train": {"lr": 5.0e-4},
    }
    project.edit(arms={"reinforce": arm})

    run_plain(project.params_file, "reinforce")

    row = metrics_of(project, "reinforce")[1]
    assert 0 <= row["reward"] <= 1
    assert row["grad_norm"] > 0
    config = json.loads((project.run_dir("reinforce") / "config.json").read_text())
    assert (config["method"], config["settings"]["method"]) == (
        "my_lab.reinforce:Reinforce",
        {"baseline": 0.3},
    )
