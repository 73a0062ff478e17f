"""The demo's fork arm with its teacher behind vLLM: as far as in process, through a kill, and again from the cache."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from projects import Project, run_plain
from served import Served

from omniopd.config import load_params
from omniopd.data.layout import Layout
from omniopd.data.prompts import read_prompts
from omniopd.preflight import plan as planning
from omniopd.teachers import loop
from omniopd.teachers.cache import ReplyCache

ARM = "fork-m4c4"  # half the calls of the default: what is tested is the teacher
SAME = 0.05  # two runs of this arm on other random numbers end within 0.03 of each other
REPLAYED = ("verdicts", "trajectories", "checkpoints")


@pytest.fixture(scope="module", autouse=True)
def _no_connection_left_open():
    yield
    loop.close()


def _metrics(project: Project) -> list[dict]:
    return [json.loads(line) for line in (project.run_dir(ARM) / "metrics.jsonl").read_text().splitlines()]


def _files(project: Project) -> dict[str, bytes]:
    return {
        path.relative_to(project.run_dir(ARM)).as_posix(): path.read_bytes()
        for name in REPLAYED
        for path in sorted((project.run_dir(ARM) / name).rglob("*"))
        if path.is_file()
    }


def _killed_at(project: Project, num_rounds: int, calls_after: int) -> None:
    """Start the flow as a user does, and end it without warning in the midst of that round's calls."""
    cache = project.root / "teacher.sqlite"
    verdicts = project.run_dir(ARM) / "verdicts" / f"round-{num_rounds - 1:04d}.parquet"
    process = subprocess.Popen(
        [sys.executable, "-m", "flows", "distill", "--arm", ARM, "--params", project.params_file],
        cwd=project.root,
    )
    try:
        while not verdicts.exists():
            assert process.poll() is None
            time.sleep(0.1)
        before = ReplyCache(cache).spent().num_calls
        while ReplyCache(cache).spent().num_calls < before + calls_after:
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.mark.timeout(2400)
def test_the_demo_ends_where_it_does_in_process_through_a_kill_and_again_offline(
    served: Served, tmp_path: Path
):
    in_process = served.project.copied_to(tmp_path / "own")
    in_process.edit_paths({"teacher.kind": "transformers", "teacher.model": "teacher"}).make_base()
    run_plain(in_process.params_file, ARM)

    asking = served.project.copied_to(tmp_path / "asking")
    asking.make_base()
    params, layout = load_params(asking.params_file), Layout(asking.root)
    prompts = read_prompts(layout.prompts(0, "train"))
    plan = planning.plan(params, layout, prompts, arms=[ARM], num_prompts=64)
    [planned, *_] = planning.as_json(plan.rows, params, layout)

    _killed_at(asking, num_rounds=40, calls_after=100)
    assert len(_metrics(asking)) < 80
    run_plain(asking.params_file, ARM)

    in_process_accuracy, asking_accuracy = (
        _metrics(project)[-1]["validation/greedy"] for project in (in_process, asking)
    )
    assert min(in_process_accuracy, asking_accuracy) > 0.9
    assert abs(in_process_accuracy - asking_accuracy) < SAME
    used = {
        name: sum(line.get(name, 0) for line in _metrics(asking))
        for name in ("teacher_prompt_tokens", "teacher_tokens")
    }
    assert planned["one_run"]["prompt_tokens"] == pytest.approx(used["teacher_prompt_tokens"], rel=0.1)
    assert planned["one_run"]["completion_tokens"] == pytest.approx(used["teacher_tokens"], rel=0.1)
    # Nothing was bought but what the verdicts hold and the probe, which is no more than 13 calls.
    assert 0 < ReplyCache(asking.root / "teacher.sqlite").spent().tokens - sum(used.values()) < 13 * 128

    again = served.project.copied_to(tmp_path / "again")
    again.edit_paths({"teacher.offline": True, "teacher.base_url": "http://127.0.0.1:9/v1"}).make_base()
    for file in asking.root.glob("teacher.sqlite*"):
        shutil.copy(file, again.root)
    run_plain(again.params_file, ARM)
    assert _files(again) == _files(asking)
