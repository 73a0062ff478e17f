"""The student behind vLLM itself: the other engine's distribution, and the trainer's weights after every update."""

import time
from pathlib import Path
from unittest import mock

import pytest
from examples_student import (
    COUNT,
    ENGINE,
    MAX_P,
    MIN_P,
    PROMPTS,
    STUDENT,
    check_ends_with,
    check_greedy,
    greedy,
    moved,
    p_same,
    pairs,
)  # fmt: skip
from projects import Project, make_project, run_plain
from transformers import PreTrainedTokenizerFast

from omniopd.config import DemoModel
from omniopd.data.decoding import Decoding
from omniopd.data.records import Trajectory
from omniopd.data.store import read_json, read_records
from omniopd.errors import RunError
from omniopd.models.chat import Chat
from omniopd.models.loading import load_model, weights_digest
from omniopd.rounds.rollout import rollouts
from omniopd.sampling.responses import writer_for
from omniopd.sampling.samplers import InProcessSampler, Sampler, Student, vllm_student
from omniopd.training.pretrain import character_tokenizer, save_model, train_demo_model

pytestmark = pytest.mark.filterwarnings("ignore")  # vLLM's own, of which it has many


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return character_tokenizer("0123456789+=;>")


@pytest.fixture(scope="module")
def students(tokenizer) -> list[Student]:
    """The first student, and what it might be after a few rounds, each with every weight changed."""
    examples = [(f"{i}+{j}=", str(i + j)) for i in range(8) for j in range(8)]
    model = train_demo_model(examples, tokenizer, DemoModel(**STUDENT), seed=0, on_step=lambda *_: None)
    models = [model]
    for seed in range(4):
        models.append(moved(models[-1], seed))
    return [Student(model, Chat(tokenizer), weights_digest(model)) for model in models]


@pytest.fixture(scope="module")
def served(students, tokenizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("student")
    save_model(path, students[0].model, tokenizer)
    engine = vllm_student()(str(path), batch_size=256, precision="float32", settings=ENGINE)
    yield engine
    engine.close()


def test_samples_have_the_distribution_of_the_other_engine_also_after_updates(served, students, capsys):
    lines = []
    for n, student in enumerate(students):
        in_process = InProcessSampler(student, batch_size=COUNT)
        start = time.perf_counter()
        with served.synced_to(student) as sampler:
            sync_s = time.perf_counter() - start
            counts = pairs(student, sampler, temperature=0.8)
        assert counts.total() == COUNT
        right, warmer = (p_same(counts, pairs(student, in_process, temperature=t)) for t in (0.8, 1.0))
        lines.append(f"update {n}: {sync_s:.2f} s, p {right:.3g}, and {warmer:.3g} at another temperature")
        assert right > MIN_P
        assert warmer < MAX_P
    with capsys.disabled():
        print("", *lines, sep="\n")


def test_the_likeliest_responses_are_those_of_the_weights_that_it_was_given(served, students):
    responses = check_greedy(served, students)
    assert all(responses[i] != responses[i + 1] for i in range(4))


def test_samples_repeat_by_seed_and_end_as_the_other_engines_do(served, students):
    student = students[0]

    def sampled(sampler: Sampler) -> list[Trajectory]:
        return rollouts(
            writer_for(student, sampler),
            PROMPTS,
            round_=0,
            num_samples=20,
            max_new_tokens=6,
            decoding=Decoding(),
            seed=5,
        )

    with served.synced_to(student) as sampler:
        first, again = sampled(sampler), sampled(sampler)
    assert [item.response_ids for item in first] == [item.response_ids for item in again]
    assert {item.finish_reason for item in first} == {"stop", "length"}
    end_id = student.chat.end_id
    for item in first:
        assert end_id not in item.response_ids[:-1]
        assert (item.finish_reason == "stop") == (item.response_ids[-1] == end_id)
        assert item.finish_reason == "stop" or len(item.response_ids) == 6
        assert item.student == student.digest


@pytest.mark.parametrize(
    ("instead", "named"),
    [
        (None, r"model.embed_tokens.weight and 17 more"),
        (
            "reload_weights",
            r"model.embed_tokens.weight",
        ),  # vLLM's own leaves the packed output layer as it was
    ],
)
def test_weights_that_vllm_did_not_take_stop_it(served, students, instead: str | None, named: str):
    engine, student = served._engine, students[2]
    rpc = engine.collective_rpc

    def other(method: str, args: tuple = ()) -> list:
        if method != "load_student":
            return rpc(method, args=args)
        return rpc(instead, kwargs={"weights_path": args[0]}) if instead else []

    with served.synced_to(students[0]):
        pass
    with (
        mock.patch.object(engine, "collective_rpc", other),
        pytest.raises(RunError, match=rf"weights {student.digest} and holds others \({named}\); "),
        served.synced_to(student),
    ):
        pytest.fail("it wrote")
    with served.synced_to(student) as sampler:
        assert greedy(student, sampler) == greedy(student, InProcessSampler(student, batch_size=10))


STARTED = """
import json, sys
import psutil
from omniopd.sampling.samplers import vllm_student
served = vllm_student()(sys.argv[1], batch_size=8, precision="float32", settings=json.loads(sys.argv[2]))
print("pids", *(child.pid for child in psutil.Process().children(recursive=True)), flush=True)
sys.stdin.read()
"""


def test_an_engine_ends_with_a_process_that_is_killed(students, tokenizer, tmp_path):
    save_model(tmp_path, students[0].model, tokenizer)
    check_ends_with(STARTED, tmp_path, ENGINE)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = make_project(tmp_path / "project").edit(
        models__demo__student=STUDENT, rollout__engine="vllm", rollout__engine_settings=ENGINE,
        train__num_rounds=3, train__checkpoint_every=1, train__lr=1e-3,
    )  # fmt: skip
    made.make_base()
    return made


def test_a_run_of_three_rounds_writes_each_with_the_weights_before_it(project: Project):
    arm = "omniopd"
    last = run_plain(project.params_file, arm)
    run_dir = project.run_dir(arm)
    assert last == run_dir / "checkpoints/round-0003"
    paths = [project.root / "models/seed-0/student", *(run_dir / f"checkpoints/round-000{n}" for n in (1, 2))]
    digests = [weights_digest(load_model(str(path))) for path in paths]
    assert len(set(digests)) == 3
    for round_, digest in enumerate(digests):
        trajectories = read_records(run_dir / f"trajectories/round-000{round_}.parquet", Trajectory)
        assert len(trajectories) == 12
        assert {item.student for item in trajectories} == {digest}
    assert read_json(run_dir / "config.json")["settings"]["rollout"]["engine"] == "vllm"
