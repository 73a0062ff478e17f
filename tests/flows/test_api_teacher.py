"""Arms whose teacher stands behind an API, through the flow: the same as any other, within a budget."""

import json
import math
import os
from base64 import b64encode
from pathlib import Path
from urllib.parse import quote

import pytest
from mlflow import MlflowClient
from projects import Project, digests, run_plain
from quick import quick
from raw_server import RawServer, Sent, sending
from started import start_flow
from teacher_dialects import Vendor
from teacher_mind import AdditionMind, Faults
from teacher_server import TeacherServer, running

from omniopd.config import load_params
from omniopd.data.layout import Layout
from omniopd.data.records import Trajectory, Verdict
from omniopd.data.store import read_records
from omniopd.errors import BudgetError, ConfigError, RunError, TeacherError
from omniopd.functional import SIMILARITIES
from omniopd.rounds.run import open_run
from omniopd.rounds.start import start_run
from omniopd.rounds.teacher_probe import probe_teacher
from omniopd.teachers import loop
from omniopd.teachers.cache import ReplyCache

SECRET = "sk-planted-0123456789abcdef"
ARMS = {
    "omniopd": {"method": "omniopd", "settings": {"num_chunks": 2, "num_replies": 3, "chunk_len": 2}},
    "omniopd-fork": {"method": "fork", "settings": {"num_chunks": 3}},
    "sft": {"method": "sft"},
}


@pytest.fixture(scope="module", autouse=True)
def _no_connection_left_open():
    yield
    loop.close()


@pytest.fixture(autouse=True)
def _no_long_waits(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("omniopd.teachers.client.BACKOFF_S", 0.001)


@pytest.fixture
def server():
    with running(TeacherServer(AdditionMind(noise=0.2))) as server:
        yield server


def _asking(project: Project, server: TeacherServer | RawServer, **teacher) -> Project:
    settings = {
        "kind": "api",
        "model": "hosted_vllm/demo",
        "base_url": server.url,
        "way": "completion",
        **teacher,
    }
    return project.edit_paths(
        {"arms": ARMS, "train.num_rounds": 2} | {f"teacher.{k}": v for k, v in settings.items()}
    )


def _spent(project: Project):
    return ReplyCache(project.root / "teacher.sqlite").spent()


def _results(project: Project, arm: str = "omniopd") -> dict[str, str]:
    """What a run came to, but for its record of the settings: a budget is one of them."""
    return {name: md5 for name, md5 in digests(project.run_dir(arm)).items() if name != "config.json"}


def _metrics(project: Project, arm: str) -> list[dict]:
    return [json.loads(line) for line in (project.run_dir(arm) / "metrics.jsonl").read_text().splitlines()]


def _first_verdicts(project: Project, arm: str) -> list[Verdict]:
    return read_records(project.run_dir(arm) / "verdicts" / "round-0000.parquet", Verdict)


@pytest.mark.parametrize("arm", quick(list(ARMS), keep=["omniopd-fork"]))
def test_an_arm_runs_and_repeats_offline_with_the_same_bytes(
    project: Project, server, tmp_path: Path, arm: str
):
    _asking(project, server, prices={"input": 1.0, "output": 5.0})
    twin = project.copied_to(tmp_path / "twin")
    params = load_params(project.params_file)
    run = open_run(start_run(params, arm, 0, Layout(project.root)))
    probe_teacher(run)
    probe = _spent(project)
    run_plain(project.params_file, arm)
    first = _results(project, arm)
    name = "trajectories" if arm == "sft" else "verdicts"
    rows = read_records(
        project.run_dir(arm) / name / "round-0001.parquet", Trajectory if arm == "sft" else Verdict
    )
    assert rows
    if arm != "sft":
        assert {(row.teacher, row.mode, row.failure) for row in rows} == {
            ("hosted_vllm/demo", "completion", "")
        }
    metrics = _metrics(project, arm)
    assert all(line["cost_usd"] > 0 and line["teacher_failures"] == 0 for line in metrics[:2])
    booked = sum(line["cost_usd"] for line in metrics[:2])
    assert 0 < probe.cost_usd == pytest.approx(_spent(project).cost_usd - booked)

    num_served = len(server.served)
    (project.root / "teacher.sqlite").rename(twin.root / "teacher.sqlite")
    twin.edit(teacher__offline=True, teacher__base_url="http://127.0.0.1:9/v1")
    run_plain(twin.params_file, arm)
    assert len(server.served) == num_served
    assert _results(twin, arm) == first


@pytest.mark.slow
def test_offline_a_miss_says_what_to_do(project: Project, server):
    _asking(project, server, offline=True)
    with pytest.raises(
        TeacherError, match=r"the cache has no reply of hosted_vllm/demo .*; take the cache of the run"
    ):
        run_plain(project.params_file)


def test_a_reached_budget_stops_the_run_and_raised_it_ends_as_if_there_had_been_none(
    project: Project, server, tmp_path: Path
):
    twin = _asking(project, server).copied_to(tmp_path / "twin")
    run_plain(twin.params_file)
    needed = _spent(twin).tokens

    project.edit(teacher__budget_tokens=needed // 2)
    with pytest.raises(BudgetError, match=rf"budget_tokens: {needed // 2} is reached: .* raise the budget"):
        run_plain(project.params_file)
    assert 0 < _spent(project).tokens <= needed // 2
    project.edit(teacher__budget_tokens=needed + 1000)
    run_plain(project.params_file)
    assert _results(project) == _results(twin)
    assert _spent(project).tokens == needed, "nothing was bought twice"


@pytest.mark.slow
def test_too_many_failures_stop_the_round_with_their_reasons_and_later_only_they_are_asked(
    project: Project,
):
    with running(TeacherServer(faults=Faults(filter_share=0.3))) as server:
        _asking(project, server, max_failed_share=0.05)
        with pytest.raises(
            RunError, match=r"the teacher failed \d+ of \d+ requests(?s:.*)\d+  content_filter\n"
        ):
            run_plain(project.params_file)
        assert not (project.run_dir() / "verdicts" / "round-0000.parquet").exists()
        num_served = len(server.served)
    with running(TeacherServer()) as server:
        project.edit(teacher__base_url=server.url)
        run_plain(project.params_file)
        assert _spent(project).num_calls == num_served + len(server.served)
    verdicts = _first_verdicts(project, "omniopd")
    assert all(verdict.num_replies == 3 for verdict in verdicts)


@pytest.mark.slow
@pytest.mark.parametrize("arm", ARMS)
def test_what_failed_is_left_out_and_counted(project: Project, arm: str):
    with running(TeacherServer(faults=Faults(filter_share=0.2))) as server:
        _asking(project, server, max_failed_share=0.9)
        run_plain(project.params_file, arm)
    rounds = _metrics(project, arm)[:2]
    assert sum(line["teacher_failures"] for line in rounds) > 0
    assert all(line["teacher_failures"] == line.get("teacher_failures/content_filter", 0) for line in rounds)
    assert all(math.isfinite(line["loss"]) for line in rounds)


@pytest.mark.slow
def test_the_way_is_found_by_a_probe_and_kept(project: Project):
    with running(TeacherServer(vendor=Vendor(refuse_prefill=True, max_n=1))) as server:
        _asking(project, server, way="auto")
        run_plain(project.params_file)
        probe = json.loads((project.run_dir() / "teacher.json").read_text())
        assert probe["way"] == "completion"
        assert probe["capabilities"]["samples_per_call"] == 1
        assert probe["shares_tokens"]
    with running(TeacherServer(vendor=Vendor(ignores_prefill=True))) as server:
        _asking(project, server, way="prefill", cache="other.sqlite")
        with pytest.raises(
            TeacherError, match=r"does not continue the prefix that it is given:\n  prefill: after '.*\nset"
        ):
            run_plain(project.params_file)


@pytest.mark.slow
def test_of_a_teacher_with_tokens_of_its_own_more_are_asked_for_and_no_more_than_a_chunk_is_read(
    project: Project,
):
    """Two characters a token: the probe counts them, and every whole reply still holds the student's chunk."""
    with running(TeacherServer(vendor=Vendor(chars_per_token=2))) as server:
        _asking(project, server)
        for arm in ("omniopd", "omniopd-fork"):
            run_plain(project.params_file, arm)
            assert not json.loads((project.run_dir(arm) / "teacher.json").read_text())["shares_tokens"]
    verdicts = _first_verdicts(project, "omniopd-fork")
    assert {len(ids) for verdict in verdicts for ids in verdict.reply_ids} == {1}
    assert max(len(reply) for verdict in verdicts for reply in verdict.replies) == 2 * (1 + 4)
    published = _first_verdicts(project, "omniopd")
    assert {len(ids) for verdict in published for ids in verdict.reply_ids} <= {1, 2}
    for verdict in [
        item for item in published if not item.boundary and set(item.finish_reasons) == {"length"}
    ]:
        cut = [SIMILARITIES["edit"](verdict.chunk, reply[: verdict.chunk_len]) for reply in verdict.replies]
        assert verdict.similarities == pytest.approx(cut)


def test_a_wrong_key_stops_before_any_rollout(project: Project, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TEACHER_KEY", "wrong")
    with running(TeacherServer(vendor=Vendor(api_key="right"))) as server:
        _asking(project, server, api_key_env="TEACHER_KEY")
        with pytest.raises(ConfigError, match="teacher.model: hosted_vllm/demo: "):
            run_plain(project.params_file)
    assert not list((project.run_dir() / "work").rglob("*.parquet"))


def test_no_artefact_holds_the_key(project: Project):
    (project.root / ".env").write_text(f"TEACHER_KEY={SECRET}\n")
    try:
        with running(
            TeacherServer(
                vendor=Vendor(api_key=SECRET, echoes=True), faults=Faults(share=0.2, retry_after_s=0.01)
            )
        ) as server:
            _asking(project, server, api_key_env="TEACHER_KEY", max_attempts=12, timeout_s=0.5)
            database = project.root / "mlflow.db"
            project.edit(tracking__enabled=True, tracking__uri=f"sqlite:///{database}")
            run_plain(project.params_file)
    finally:
        os.environ.pop("TEACHER_KEY", None)
    assert MlflowClient(f"sqlite:///{database}").search_experiments(filter_string="name != 'Default'")
    holders = [
        path.relative_to(project.root).as_posix()
        for path in project.root.rglob("*")
        if path.is_file() and SECRET.encode() in path.read_bytes()
    ]
    assert holders == [".env"]


@pytest.mark.slow
def test_a_flow_that_fails_with_the_key_in_its_reason_writes_it_nowhere(project: Project):
    """Neither Prefect's database, nor the run's log, which holds what the server answered, nor the screen."""
    (project.root / ".env").write_text(f"TEACHER_KEY={SECRET}\n")

    def refuse(number: int, headers: dict[str, str], *_: object) -> Sent:
        key = headers["authorization"].split()[-1]
        message = f"try {number}: no model for {key}, {quote(key)}, {b64encode(key.encode()).decode()}"
        return Sent({"error": {"message": message, "headers": dict(headers)}}, status=400)

    with sending(refuse) as server:
        _asking(project, server, api_key_env="TEACHER_KEY", max_attempts=1)
        process = start_flow(project)
        printed, _ = process.communicate(timeout=300)
        assert server.requests
    assert process.returncode == 2, printed
    assert "no model for [key], [key], [key]" in (project.run_dir() / "run.log").read_text()
    holders = {"printed"} if SECRET in printed else set()
    for path in project.root.rglob("*"):
        if path.is_file() and SECRET.encode() in path.read_bytes():
            holders.add(path.relative_to(project.root).as_posix())
    assert holders == {".env"}
    assert (project.root / ".prefect" / "prefect.db").is_file()
