"""Every way of asking, against vLLM itself."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from omniopd.tasks import TASKS
from omniopd.teachers import InProcessTeacher, TeacherRequest, loop
from omniopd.teachers.cache import Budget, ReplyCache
from omniopd.teachers.calls import Endpoint
from omniopd.teachers.capabilities import Capabilities, tabled
from omniopd.teachers.client import ApiTeacher, Conduct
from omniopd.teachers.probe import probe

CONDUCT = Conduct(16, None, None, timeout_s=60.0, max_attempts=3, budget=Budget(), offline=False)
PROMPT = "4185+5874="


@pytest.fixture(scope="module", autouse=True)
def _no_connection_left_open():
    yield
    loop.close()


@pytest.fixture
def teacher_of(origin: str, tmp_path: Path):
    made = []

    def make(model: str, way, capabilities: Capabilities | None = None) -> ApiTeacher:
        base_url = origin if model.startswith("anthropic") else f"{origin}/v1"
        known = capabilities or tabled(model, has_base_url=True)
        teacher = ApiTeacher(
            Endpoint(model, base_url=base_url, api_key="none"), name=f"{model} {way}", way=way, capabilities=known,
            temperature=1.0, cache=ReplyCache(tmp_path / "teacher.sqlite"), conduct=CONDUCT,
        )  # fmt: skip
        made.append(teacher)
        return teacher

    yield make
    for teacher in made:
        teacher.close()


def _request(
    length: int, num_replies: int, *, max_tokens: int = 4, temperature: float | None = None, seed: int = 7
):
    prefix = TASKS["addition"].of(4185, 5874).solution[:length]
    return TeacherRequest(f"t/{length}", "t", PROMPT, prefix, num_replies, max_tokens, seed, temperature)


@pytest.mark.parametrize(
    ("model", "way"),
    [("hosted_vllm/demo", "completion"), ("hosted_vllm/demo", "prefill"), ("anthropic/demo", "prefill")],
)
def test_every_way_writes_on_as_the_model_in_this_process_does(served_model, teacher_of, model, way):
    own = InProcessTeacher(str(served_model), name="own", temperature=1.0, batch_size=8)
    requests = [_request(length, 1, temperature=0.0) for length in (0, 3, 9, 20)]
    expected = own.answer(requests)
    found = teacher_of(model, way).answer(requests)
    assert [answer.failure for answer in found] == [""] * 4
    assert [answer.replies for answer in found] == [answer.replies for answer in expected]
    assert [answer.finish_reasons for answer in found] == [answer.finish_reasons for answer in expected]


def test_several_replies_in_one_call_are_samples_of_the_model(served_model, teacher_of):
    own = InProcessTeacher(str(served_model), name="own", temperature=1.0, batch_size=8)
    requests = [
        replace(_request(8, 16, max_tokens=1, seed=100 * i), id=f"t{i}", trajectory_id=f"t{i}")
        for i in range(40)
    ]
    counts = [
        Counter(reply for answer in teacher.answer(requests) for reply in answer.replies)
        for teacher in (own, teacher_of("hosted_vllm/demo", "completion"))
    ]
    for text in counts[0] | counts[1]:
        assert abs(counts[0][text] - counts[1][text]) < 4 * max(counts[0][text] + counts[1][text], 16) ** 0.5


def test_the_probe_finds_the_prefill_and_without_a_template_the_completion(teacher_of):
    model = "hosted_vllm/demo"
    prompts = [f"{a}185+5874=" for a in range(1, 5)]
    found = probe(
        prompts, ways=("prefill", "completion", "instruct"), capabilities=tabled(model, has_base_url=True),
        teacher_of=lambda found: teacher_of(model, found.way, found.capabilities),
    )  # fmt: skip
    assert found.way == "prefill"
    assert found.capabilities.samples_per_call > 1


def test_an_unknown_model_is_told_at_once(teacher_of):
    from omniopd.errors import ConfigError

    with pytest.raises(ConfigError, match="teacher.model: hosted_vllm/nobody: "):
        teacher_of("hosted_vllm/nobody", "completion").answer([_request(3, 1)])
