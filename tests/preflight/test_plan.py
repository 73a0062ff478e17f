"""The estimates of the plan, against what the runs then use."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from projects import Project, make_project, run_plain
from teacher_server import TeacherServer, running

from omniopd.config import load_params
from omniopd.data.layout import Layout
from omniopd.data.records import Trajectory
from omniopd.inputs.prepare import task_prompts
from omniopd.methods import SFT, Fork, OmniOPD
from omniopd.preflight import plan as planning
from omniopd.report.plan import plan_total
from omniopd.teachers import loop
from omniopd.teachers.cache import ReplyCache
from omniopd.teachers.estimate import Estimate, Sampled, TeacherProfile, estimate
from omniopd.teachers.prices import Prices

ARMS = {
    "omniopd": {"method": "omniopd", "settings": {"num_chunks": 2, "num_replies": 3, "chunk_len": 2}},
    "omniopd-fork": {"method": "fork", "lr_of": "omniopd-fork", "settings": {"num_chunks": 3}},
    "sft": {"method": "sft"},
    "grpo": {"method": "grpo", "rollout": {"num_prompts": 6, "num_samples": 2}},
}


def _count(text: str, ids) -> int:
    del text
    return len(ids)


# A prompt of 4 tokens and a response of 10, most unsure at 3, 8 and 6.
SAMPLE = Trajectory(
    id="t", round=0, prompt_id="p", prompt="1+2=", prompt_ids=[1, 10, 2, 11], response="1" * 10, response_ids=[1] * 10,
    finish_reason="stop", temperature=1.0, seed=0, student="w",
    entropies=[0.0, 0.0, 0.0, 0.9, 0.0, 0.0, 0.5, 0.0, 0.8, 0.0], logps=[-0.1] * 10,
)  # fmt: skip


@pytest.mark.parametrize(
    ("method", "samples_per_call", "caches_from", "expected"),
    [
        # prefixes of 7, 10 and 12 tokens, each beginning the next
        (Fork(num_chunks=3), 1, 0, Estimate(3, 29, 17, 3)),
        (Fork(num_chunks=3), 1, 8, Estimate(3, 29, 10, 3)),
        (Fork(num_chunks=3), 1, None, Estimate(3, 29, 0, 3)),
        (Fork(num_chunks=3, num_replies=4), 4, 0, Estimate(3, 29, 17, 12)),
        (Fork(num_chunks=3, num_replies=4), 1, 0, Estimate(12, 116, 17 + 3 * 29, 12)),
        (OmniOPD(num_chunks=2, num_replies=2, chunk_len=2), 16, 0, Estimate(2, 19, 7, 8)),
        (OmniOPD(num_chunks=2, num_replies=2, chunk_len=11), 16, 0, Estimate(0, 0, 0, 0)),
        (SFT(), 16, 0, Estimate(0.5, 2, 0, 10)),
        (SFT(), 1, 0, Estimate(1, 4, 2, 10)),
    ],
)
def test_an_estimate_counts_what_each_method_asks(method, samples_per_call, caches_from, expected):
    profile = TeacherProfile(samples_per_call, caches_from, shares_tokens=True, count=_count)
    assert estimate([Sampled(SAMPLE, 4)], method, num_samples=2, profile=profile) == expected


def test_a_cache_has_the_context_that_every_prompt_begins_with():
    profile = TeacherProfile(16, 8, shares_tokens=True, count=_count)
    alone, shared = (
        estimate([Sampled(SAMPLE, 30, num_shared)], Fork(num_chunks=3), num_samples=1, profile=profile)
        for num_shared in (0, 20)
    )
    assert (alone.prompt_tokens, alone.cached_tokens) == (33 + 36 + 38, 33 + 36)
    assert shared == replace(alone, cached_tokens=20 + 33 + 36)
    short = estimate([Sampled(SAMPLE, 30, 7)], Fork(num_chunks=3), num_samples=1, profile=profile)
    assert short == alone  # below what the cache keeps


def test_of_a_teacher_with_tokens_of_its_own_a_few_more_are_asked_for():
    profile = TeacherProfile(16, 0, shares_tokens=False, count=_count)
    fork = estimate([Sampled(SAMPLE, 4)], Fork(num_chunks=3), num_samples=1, profile=profile)
    assert fork.completion_tokens == 5 + 4 + 2  # at 3, 6 and 8 of a response of 10 tokens


def test_dollars_and_minutes():
    one = Estimate(calls=100, prompt_tokens=4000, cached_tokens=1000, completion_tokens=500)
    prices = Prices(input=1e-3, cached_input=1e-4, output=1e-2)
    assert one.cost_usd(prices, with_cache=False) == pytest.approx(9.0)
    assert one.cost_usd(prices, with_cache=True) == pytest.approx(8.1)
    assert one.minutes(requests_per_minute=None, tokens_per_minute=None) is None
    assert one.minutes(requests_per_minute=50, tokens_per_minute=None) == 2.0
    assert one.minutes(requests_per_minute=50, tokens_per_minute=450) == 10.0


@pytest.mark.slow
def test_the_plan_is_within_a_tenth_of_what_the_runs_use(project: Project):
    with running(TeacherServer()) as server:
        project.edit_paths(
            {
                "arms": ARMS, "train.num_rounds": 3, "prompts.num_train": 64, "seeds": [0, 1],
                "teacher.kind": "api", "teacher.model": "hosted_vllm/demo", "teacher.base_url": server.url,
                "teacher.way": "completion", "teacher.prices": {"input": 1.0, "output": 5.0},
            }
        )  # fmt: skip
        project.make_base()
        params, layout = load_params(project.params_file), Layout(project.root)
        prompts = task_prompts(params, 0)[0]["train"]
        plan = planning.plan(params, layout, prompts, num_prompts=64)
        assert server.num_requests == 0
        assert plan.num_sampled == 64
        planned = {row["arm"]: row for row in planning.as_json(plan.rows, params, layout)}
        assert planned.keys() == {
            "omniopd",
            "omniopd-fork",
            "sft",
            "published form",
            "fork, M 8, C 1",
            "fork, M 4, C 4",
        }
        assert {name: planned[name]["runs"] for name in ARMS if name in planned} == {
            "omniopd": 2, "omniopd-fork": 2 + 2, "sft": 2,
        }  # fmt: skip
        (project.root / "learning_rates.json").write_text('{"omniopd-fork": 0.001}')
        for arm in (
            "omniopd",
            "omniopd-fork",
        ):  # how long the teacher's own solutions are no sample of the student tells
            run_plain(project.params_file, arm)
            lines = [
                json.loads(line) for line in (project.run_dir(arm) / "metrics.jsonl").read_text().splitlines()
            ]
            one = planned[arm]["one_run"]
            for name, used in (
                ("completion_tokens", "teacher_tokens"),
                ("prompt_tokens", "teacher_prompt_tokens"),
            ):
                assert one[name] == pytest.approx(sum(line.get(used, 0) for line in lines), rel=0.1)
            assert one["cost_usd"] == pytest.approx(sum(line.get("cost_usd", 0) for line in lines), rel=0.1)
    loop.close()
    assert ReplyCache(project.root / "teacher.sqlite").spent().num_calls > 0
    assert plan_total(list(planned.values())).startswith("All 8 runs: ")


def test_without_a_student_the_plan_is_an_upper_bound(tmp_path: Path):
    """Before `prepare` and `base`, in an empty folder; with either, as many calls or fewer."""
    project = make_project(tmp_path)
    params, layout = load_params(project.params_file), Layout(project.root)
    assert params.models.student == "demo"
    prompts = task_prompts(params, 0)[0]["train"]

    bound = planning.plan(params, layout, prompts)
    assert [path.name for path in project.root.iterdir()] == [project.params_file.name]
    project.make_base()
    sampled = planning.plan(params, layout, prompts)
    asked_for = planning.plan(params, layout, prompts, num_prompts=0)

    assert (bound.num_sampled, sampled.num_sampled, asked_for.num_sampled) == (0, planning.NUM_PROMPTS, 0)
    assert bound.rows == asked_for.rows
    most = {row.name: row.one for row in bound.rows}
    for row in sampled.rows:
        for name in ("calls", "prompt_tokens", "completion_tokens"):
            assert getattr(row.one, name) <= getattr(most[row.name], name)
