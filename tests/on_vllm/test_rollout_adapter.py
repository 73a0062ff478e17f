"""A student with an adapter behind vLLM itself: the other engine's distribution after every update."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import pytest
from examples_student import (
    COUNT,
    ENGINE,
    MAX_P,
    MIN_P,
    STUDENT,
    check_greedy,
    greedy,
    moved,
    p_same,
    pairs,
)
from projects import make_project, run_plain
from vllm.lora.request import LoRARequest  # pyright: ignore[reportMissingImports]

from omniopd.config import DemoModel, Lora, Precision
from omniopd.data.records import Trajectory
from omniopd.data.store import read_records
from omniopd.errors import RunError
from omniopd.models.adapters import add_adapter
from omniopd.models.chat import Chat
from omniopd.models.loading import load_model, weights_digest
from omniopd.sampling.samplers import InProcessSampler, Student, vllm_student
from omniopd.sampling.weight_sync import exported
from omniopd.training.pretrain import character_tokenizer, save_model, train_demo_model

pytestmark = pytest.mark.filterwarnings("ignore")  # vLLM's own, of which it has many

LORA = Lora(rank=3, alpha=5.0, targets="all-linear")  # a rank and a scale that vLLM must pad and round


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> str:
    tokenizer = character_tokenizer("0123456789+=;>")
    examples = [(f"{i}+{j}=", str(i + j)) for i in range(8) for j in range(8)]
    model = train_demo_model(examples, tokenizer, DemoModel(**STUDENT), seed=0, on_step=lambda *_: None)
    path = tmp_path_factory.mktemp("base")
    save_model(path, model, tokenizer)
    return str(path)


def with_adapters(base: str, precision: Precision) -> list[Student]:
    """The base with an adapter that changes nothing yet, and with what it might be after each of two rounds."""
    models = [load_model(base, precision=precision, trained=False)]
    add_adapter(models[0], LORA, seed=0)
    for seed in range(2):
        models.append(moved(models[-1], seed, least=0.2))
    tokenizer = character_tokenizer("0123456789+=;>")
    return [Student(model, Chat(tokenizer), weights_digest(model)) for model in models]


@contextmanager
def serving(base: str, precision: Precision) -> Iterator:
    served = vllm_student()(base, batch_size=256, precision=precision, settings=ENGINE, lora=LORA)
    try:
        yield served
    finally:
        served.close()


@pytest.fixture(scope="module")
def students(base: str) -> list[Student]:
    return with_adapters(base, "float32")


@pytest.fixture(scope="module")
def served(base: str):
    with serving(base, "float32") as served:
        yield served


def test_samples_have_the_distribution_of_the_other_engine_after_each_update(served, students, capsys):
    lines = []
    for n, student in enumerate(students):
        other = students[n - 1 if n else 1]
        start = time.perf_counter()
        with served.synced_to(student) as sampler:
            sync_s = time.perf_counter() - start
            counts = pairs(student, sampler, temperature=0.8)
        right, stale = (
            p_same(counts, pairs(one, InProcessSampler(one, batch_size=COUNT), temperature=0.8))
            for one in (student, other)
        )
        lines.append(f"adapter {n}: {sync_s:.2f} s, p {right:.3g}, and {stale:.3g} with another")
        assert right > MIN_P
        assert stale < MAX_P
    with capsys.disabled():
        print("", *lines, sep="\n")


def test_the_likeliest_responses_are_those_of_the_adapter_that_it_was_given(served, students):
    responses = check_greedy(served, students)
    assert responses[0] != responses[1] != responses[2]
    assert len(served._engine.llm_engine.list_loras()) == 1, "the others were removed"


@pytest.mark.parametrize("is_given", [True, False])
def test_a_stale_adapter_and_one_that_was_not_taken_stop_it(served, students, is_given: bool):
    engine, student = served._engine.llm_engine, students[2]
    add_lora = engine.add_lora
    with served.synced_to(students[1]):
        pass
    with ExitStack() as stack:
        stale = stack.enter_context(exported(students[1].model))

        def other(request: LoRARequest) -> bool:
            return is_given and add_lora(LoRARequest(request.lora_name, request.lora_int_id, stale))

        stack.enter_context(mock.patch.object(engine, "add_lora", other))
        stack.enter_context(
            pytest.raises(
                RunError,
                match=rf"weights {student.digest} and holds others \(model.layers.0.\S+ and \d+ more\); ",
            )
        )
        with served.synced_to(student):
            pytest.fail("it wrote")
    with served.synced_to(student) as sampler:
        assert greedy(student, sampler) == greedy(student, InProcessSampler(student, batch_size=10))


def test_bfloat16_weights_are_compared_exactly_too(base: str):
    with serving(base, "bfloat16") as served:
        for student in with_adapters(base, "bfloat16"):
            with served.synced_to(student) as sampler:
                assert len(greedy(student, sampler)) == 10


def test_a_run_with_an_adapter_writes_each_round_with_the_one_before_it(tmp_path: Path):
    project = make_project(tmp_path / "project").edit(
        models__demo__student=STUDENT, rollout__engine="vllm", rollout__engine_settings=ENGINE,
        train__num_rounds=2, train__checkpoint_every=1, train__lr=1e-2,
        train__lora={"rank": 2, "alpha": 4.0, "targets": ["q_proj", "v_proj", "down_proj"]},
    )  # fmt: skip
    project.make_base()
    run_plain(project.params_file)
    written = [
        read_records(project.run_dir() / f"trajectories/round-000{n}.parquet", Trajectory) for n in range(2)
    ]
    digests = [{trajectory.student for trajectory in trajectories} for trajectories in written]
    assert [len(names) for names in digests] == [1, 1]
    assert digests[0] != digests[1]
