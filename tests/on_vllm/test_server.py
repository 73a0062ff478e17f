"""Every way of asking, against vLLM itself."""

import urllib.request
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from examples_served import request
from served import Served

from omniopd.config import TeacherConfig
from omniopd.data.conversation import conversation
from omniopd.models.loading import load_chat
from omniopd.models.text import TextDecoder
from omniopd.teachers import InProcessTeacher, TeacherRequest, loop
from omniopd.teachers.cache import ReplyCache
from omniopd.teachers.calls import Endpoint
from omniopd.teachers.capabilities import Capabilities, tabled
from omniopd.teachers.client import ApiTeacher
from omniopd.teachers.probe import probe

pytestmark = pytest.mark.timeout(900)  # the first test trains what is served

CONFIG = TeacherConfig(kind="api", max_concurrency=16, timeout_s=60.0, max_attempts=3)


@pytest.fixture(scope="module", autouse=True)
def _no_connection_left_open():
    yield
    loop.close()


@pytest.fixture
def teacher_of(served: Served, tmp_path: Path):
    made = []

    def make(model: str, way, capabilities: Capabilities | None = None) -> ApiTeacher:
        base_url = served.origin if model.startswith("anthropic") else f"{served.origin}/v1"
        known = capabilities or tabled(model, "http://own/v1")
        teacher = ApiTeacher(
            Endpoint(model, base_url=base_url, api_key="none"),
            CONFIG.model_copy(update={"model": f"{model} {way}"}),
            way=way, capabilities=known, cache=ReplyCache(tmp_path / "teacher.sqlite"),
        )  # fmt: skip
        made.append(teacher)
        return teacher

    yield make
    for teacher in made:
        teacher.close()


@pytest.mark.parametrize(
    ("model", "way"),
    [("hosted_vllm/demo", "completion"), ("hosted_vllm/demo", "prefill"), ("anthropic/demo", "prefill")],
)
def test_every_way_writes_on_as_the_model_in_this_process_does(served, teacher_of, model, way):
    in_process = InProcessTeacher(str(served.teacher), name="own", temperature=1.0, batch_size=8)
    requests = [request(length, 1, temperature=0.0) for length in (0, 3, 9, 20)]
    expected = in_process.answer(requests)
    answers = teacher_of(model, way).answer(requests)
    assert [answer.failure for answer in answers] == [""] * 4
    assert [answer.replies for answer in answers] == [answer.replies for answer in expected]
    assert [answer.finish_reasons for answer in answers] == [answer.finish_reasons for answer in expected]


def test_several_replies_in_one_call_are_samples_of_the_model(served, teacher_of):
    in_process = InProcessTeacher(str(served.teacher), name="own", temperature=1.0, batch_size=8)
    requests = [
        replace(
            request(6, 16, max_tokens=1, seed=100 * i, temperature=2.0), id=f"t{i}", trajectory_id=f"t{i}"
        )
        for i in range(40)
    ]
    counts = [
        Counter(reply for answer in teacher.answer(requests) for reply in answer.replies)
        for teacher in (in_process, teacher_of("hosted_vllm/demo", "completion"))
    ]
    assert len(counts[0]) > 5, "there is something to tell apart"
    for text in counts[0] | counts[1]:
        assert abs(counts[0][text] - counts[1][text]) < 4 * max(counts[0][text] + counts[1][text], 16) ** 0.5


def test_the_probe_finds_the_prefill_and_whose_tokens_they_are(served, teacher_of):
    model = "hosted_vllm/demo"
    prompts = [conversation(f"{a}185+5874=") for a in range(1, 5)]
    result = probe(
        prompts, ways=("prefill", "completion", "instruct"), capabilities=tabled(model, "http://own/v1"),
        teacher_of=lambda result: teacher_of(model, result.way, result.capabilities),
        tokens_of=TextDecoder(load_chat(str(served.teacher))).read_alone,
    )  # fmt: skip
    assert result.way == "prefill"
    assert result.shares_tokens
    assert result.capabilities.samples_per_call > 1


def test_an_unknown_model_is_reported_at_once(teacher_of):
    from omniopd.errors import ConfigError

    with pytest.raises(ConfigError, match="teacher.model: hosted_vllm/nobody: "):
        teacher_of("hosted_vllm/nobody", "completion").answer([request(3, 1)])


def test_the_audits_of_a_trajectory_find_their_beginning_in_the_prefix_cache(served, teacher_of, capsys):
    """Prompts of 60 tokens, answers of up to 56, blocks of 32: in turn each audit finds what the one before it read."""
    hit_rates = {}
    for in_turn, first in ((True, 1000), (False, 5000)):
        before = _prefix_cache(served.origin)
        answers = teacher_of("hosted_vllm/demo", "completion").answer(_audits(first, in_turn=in_turn))
        assert not any(answer.failure for answer in answers)
        queries, hits = (now - then for now, then in zip(_prefix_cache(served.origin), before, strict=True))
        hit_rates[in_turn] = hits / queries
    with capsys.disabled():
        print(
            f"\nfound in the prefix cache: {hit_rates[True]:.0%} in turn, {hit_rates[False]:.0%} all at once"
        )
    assert (
        hit_rates[True] > 0.6
    )  # 7 of 8 find at least the 32 or 64 tokens of their 60 to 116 that are whole blocks


def _audits(first: int, *, in_turn: bool) -> list[TeacherRequest]:
    """Eight of each of 64 trajectories, which go out in turn, or as if each were of a trajectory of its own."""
    return [
        TeacherRequest(
            f"{i}/{length}", str(i) if in_turn else f"{i}/{length}",
            prompt=f"{i}+{i + 1000}=" * 6, prefix=(f"{i}5874" * 7)[:length], num_replies=1, max_tokens=1, seed=length,
        )
        for i in range(first, first + 64)
        for length in range(0, 57, 8)
    ]  # fmt: skip


def _prefix_cache(origin: str) -> tuple[float, float]:
    """The tokens that were looked for in the prefix cache so far, and those found there."""
    with urllib.request.urlopen(f"{origin}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()

    def counted(name: str) -> float:
        return sum(
            float(line.rpartition(" ")[2])
            for line in lines
            if line.startswith(f"vllm:prefix_cache_{name}_total")
        )

    return counted("queries"), counted("hits")
