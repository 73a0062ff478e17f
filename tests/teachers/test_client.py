"""The teacher behind an API, against a server on loopback."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from teacher_dialects import Vendor
from teacher_mind import AdditionMind, Faults, worked_solution
from teacher_server import TeacherServer, running

from omniopd.config import TeacherConfig
from omniopd.data.conversation import Message
from omniopd.errors import BudgetError, ConfigError, TeacherError
from omniopd.teachers import TeacherRequest
from omniopd.teachers.cache import ReplyCache
from omniopd.teachers.calls import Endpoint
from omniopd.teachers.capabilities import tabled
from omniopd.teachers.client import ApiTeacher
from omniopd.teachers.prices import Prices

pytestmark = pytest.mark.usefixtures("no_long_waits", "no_connection_left_open")

PROMPT = "4185+5874="
SOLUTION = worked_solution(PROMPT)
CONFIG = TeacherConfig(kind="api", max_concurrency=8, timeout_s=5.0, max_attempts=6)
PRICES = Prices(input=1e-3, cached_input=1e-3, cache_write=1e-3, output=1e-2)


@pytest.fixture
def teacher_of(tmp_path: Path):
    made = []

    def make(server: TeacherServer, *, model="hosted_vllm/demo", way="completion", config=CONFIG, **known):
        base_url = server.origin if model.startswith("anthropic") else server.url
        teacher = ApiTeacher(
            Endpoint(model, base_url=base_url, api_key="k", prices=PRICES),
            config.model_copy(update={"model": model}),
            way=way,
            capabilities=replace(tabled(model, "http://own/v1"), **known),
            cache=ReplyCache(tmp_path / "teacher.sqlite"),
        )
        made.append(teacher)
        return teacher

    yield make
    for teacher in made:
        teacher.close()


def _request(
    length: int = 5, num_replies: int = 2, seed: int = 100, prompt: str = PROMPT, max_tokens: int = 3
):
    prefix = worked_solution(prompt)[:length]
    return TeacherRequest(
        f"t-{prompt}/{length}", f"t-{prompt}", prompt, prefix, num_replies, max_tokens, seed
    )


def _cache(tmp_path: Path) -> ReplyCache:
    return ReplyCache(tmp_path / "teacher.sqlite")


@pytest.mark.parametrize(
    ("model", "way", "num_calls"),
    [
        ("hosted_vllm/demo", "completion", 1),
        ("openai/demo", "completion", 1),
        ("hosted_vllm/demo", "prefill", 1),
        ("openai/demo", "prefill", 1),
        ("anthropic/claude-haiku-4-5", "prefill", 2),  # one sample a call
    ],
)
def test_every_way_continues_the_prefix_and_is_booked(tmp_path, teacher_of, model, way, num_calls):
    with running(TeacherServer()) as server:
        (answer,) = teacher_of(server, model=model, way=way).answer([_request()])
        assert answer.replies == [SOLUTION[5:8]] * 2
        assert answer.finish_reasons == ["length"] * 2
        assert answer.mode == way
        served = server.served
    assert len(served) == num_calls
    assert answer.prompt_tokens == sum(line.prompt_tokens for line in served)
    assert answer.completion_tokens == 6
    assert answer.cost_usd == pytest.approx(1e-3 * answer.prompt_tokens + 1e-2 * 6)
    spent = _cache(tmp_path).spent()
    assert (spent.num_calls, spent.cost_usd) == (num_calls, pytest.approx(answer.cost_usd))


def test_an_answer_that_ends_says_so(teacher_of):
    with running(TeacherServer()) as server:
        (answer,) = teacher_of(server).answer([_request(len(SOLUTION) - 1, 1, max_tokens=9)])
    assert (answer.replies, answer.finish_reasons) == ([SOLUTION[-1]], ["stop"])


def test_the_same_is_never_bought_twice_whoever_asks(teacher_of):
    requests = [_request(length, seed=100 * length) for length in (0, 5, 9)]
    with running(TeacherServer(AdditionMind(noise=0.5))) as server:
        first = teacher_of(server).answer(requests)
        num_served = len(server.served)
        again = teacher_of(server).answer(requests)
        assert len(server.served) == num_served
        assert again == first
        other = teacher_of(server).answer([replace(requests[0], seed=7)])
        assert len(server.served) == num_served + 1
    assert other[0].replies != []


def test_another_process_that_asks_the_same_waits_for_the_reply(teacher_of):
    with running(TeacherServer(delay_s=0.2)) as server:
        teachers = [teacher_of(server), teacher_of(server)]
        answers = []
        threads = [
            threading.Thread(target=lambda t=t: answers.append(t.answer([_request()]))) for t in teachers
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=20)
        assert len(server.served) == 1
    assert answers[0] == answers[1]


def test_prefixes_of_one_trajectory_go_out_in_order_and_trajectories_side_by_side(teacher_of):
    prompts = [f"{a}185+5874=" for a in range(1, 6)]
    requests = [_request(length, 1, seed=length, prompt=prompt) for prompt in prompts for length in (2, 6, 9)]
    with running(TeacherServer(delay_s=0.1)) as server:
        teacher_of(server).answer(requests)
        lengths = [line.prompt_tokens - len(PROMPT) for line in server.served]
        assert 3 <= server.max_in_flight <= 5
    assert lengths == [2] * 5 + [6] * 5 + [9] * 5


def test_no_more_calls_are_under_way_than_allowed(teacher_of):
    prompts = [f"{a}185+5874=" for a in range(1, 10)]
    config = CONFIG.model_copy(update={"max_concurrency": 2})
    with running(TeacherServer(delay_s=0.02)) as server:
        teacher_of(server, config=config).answer([_request(prompt=prompt) for prompt in prompts])
        assert server.max_in_flight == 2


def test_requests_a_minute_are_kept(teacher_of):
    config = CONFIG.model_copy(update={"requests_per_minute": 600})
    prompts = [f"{a}185+5874=" for a in range(1, 10)]
    with running(TeacherServer()) as server:
        start = time.monotonic()
        teacher = teacher_of(server, config=config)
        teacher.answer([_request(prompt=prompt, length=1) for prompt in prompts])
        teacher.answer([_request(prompt=prompt, length=2) for prompt in prompts])
        took = time.monotonic() - start
    assert took >= 0.7  # eighteen requests: ten at once, and eight at ten a second
    assert took < 10


KINDS = ["rate_limit", "server_error", "unavailable", "reset", "empty", "truncated", "fewer", "content_type"]


@pytest.mark.parametrize("way", ["completion", "prefill"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_can_pass_is_asked_again(teacher_of, kind, way):
    faults = Faults(share=0.5, kinds=(kind,), retry_after_s=0.01, slow_s=0.2)
    requests = [_request(length, 3, seed=10 * length) for length in range(8)]
    with running(TeacherServer(faults=faults)) as server:
        answers = teacher_of(server, way=way, config=CONFIG.model_copy(update={"max_attempts": 12})).answer(
            requests
        )
        assert server.num_requests > len(requests), "no fault was injected"
    assert [answer.replies for answer in answers] == [[SOLUTION[n : n + 3]] * 3 for n in range(8)]


@pytest.mark.parametrize("kind", ["timeout", "drip"])
def test_a_server_that_stalls_or_drips_is_given_up_after_the_timeout(teacher_of, kind):
    faults = Faults(share=1.0, kinds=(kind,), slow_s=3.0)
    config = CONFIG.model_copy(update={"timeout_s": 0.3, "max_attempts": 2})
    with running(TeacherServer(faults=faults)) as server:
        (answer,) = teacher_of(server, config=config).answer([_request()])
    assert (answer.replies, answer.failure) == ([], "timeout")


@pytest.mark.parametrize("model", ["hosted_vllm/demo", "anthropic/claude-haiku-4-5"])
def test_a_filtered_answer_is_a_reason_and_paid_for_once(tmp_path, teacher_of, model):
    with running(TeacherServer(faults=Faults(filter_share=1.0))) as server:
        (answer,) = teacher_of(server, model=model, way="prefill").answer([_request(num_replies=1)])
        assert len(server.served) == 1
        billed = server.served[0].prompt_tokens
    assert (answer.replies, answer.failure) == ([], "content_filter")
    assert _cache(tmp_path).spent().tokens == billed


def test_claude_says_by_an_empty_answer_that_its_turn_was_over(teacher_of):
    with running(TeacherServer(faults=Faults(share=1.0, kinds=("empty",)))) as server:
        teacher = teacher_of(server, model="anthropic/claude-haiku-4-5", way="prefill")
        (answer,) = teacher.answer([_request(num_replies=1)])
    assert (answer.replies, answer.finish_reasons) == ([""], ["stop"])


def test_white_space_at_the_end_of_a_prefix_is_no_error_with_claude(teacher_of):
    prompt = "no sum"
    with running(TeacherServer()) as server:
        teacher = teacher_of(server, model="anthropic/claude-haiku-4-5", way="prefill")
        (answer,) = teacher.answer([TeacherRequest("t/0", "t", prompt, "123 \n", 1, 4, 5)])
    assert answer.failure == ""


@pytest.mark.parametrize("way", ["completion", "prefill"])
@pytest.mark.parametrize(
    "vendor", [Vendor(api_key="another"), Vendor(known_models=("x",))], ids=["key", "model"]
)
def test_a_wrong_key_or_model_stops_at_once(teacher_of, vendor, way):
    with running(TeacherServer(vendor=vendor)) as server:
        with pytest.raises(ConfigError, match=r"teacher\.model: hosted_vllm/demo: .*(the key|no model|x)"):
            teacher_of(server, way=way).answer([_request()])
        assert server.num_requests == 1


def test_what_a_vendor_refuses_is_a_reason_after_one_call(teacher_of):
    with running(TeacherServer(vendor=Vendor(refuse_prefill=True))) as server:
        (answer,) = teacher_of(server, way="prefill").answer([_request()])
        assert server.num_requests == 1
    assert answer.failure == "refused"


def test_a_reached_budget_stops_and_raised_goes_on_from_there(tmp_path, teacher_of):
    requests = [_request(1, 1, prompt=f"{a}185+5874=") for a in range(1, 10)]
    with running(TeacherServer()) as server:
        config = CONFIG.model_copy(update={"budget_tokens": 150, "max_concurrency": 3})
        with pytest.raises(BudgetError, match="budget_tokens: 150 is reached"):
            teacher_of(server, config=config).answer(requests)
        num_bought = len(server.served)
        assert 0 < num_bought < 9
        assert _cache(tmp_path).spent().tokens <= 150
        assert _cache(tmp_path).spent().num_calls == num_bought
        answers = teacher_of(server).answer(requests)
        assert len(server.served) == 9
    assert all(len(answer.replies) == 1 for answer in answers)


def test_offline_the_cache_answers_alone_and_a_miss_says_what_is_missing(teacher_of):
    offline = CONFIG.model_copy(update={"offline": True})
    with running(TeacherServer(faults=Faults(filter_share=0.5))) as server:
        requests = [_request(length, seed=length) for length in range(8)]
        first = teacher_of(server).answer(requests)
        assert {answer.failure for answer in first} == {"", "content_filter"}
        num_requests = server.num_requests
        again = teacher_of(server, config=offline).answer(requests)
        assert server.num_requests == num_requests
        assert again == first
        with pytest.raises(
            TeacherError, match=r"t-4185\+5874=/9: the cache has no reply of hosted_vllm/demo"
        ):
            teacher_of(server, config=offline).answer([_request(9)])


def test_a_reply_is_not_reused_after_other_messages(teacher_of):
    plain = _request()
    histories = [(), (Message("system", "Be brief."),), (Message("system", "Be exact."),)]
    requests = [replace(plain, history=history) for history in histories]
    with running(TeacherServer()) as server:
        teacher = teacher_of(server)
        for num_known, request in enumerate(requests):
            before = server.num_requests
            teacher.answer([request])
            assert server.num_requests > before, num_known
        before = server.num_requests
        teacher.answer(requests)
        assert server.num_requests == before


def test_several_threads_share_the_teacher(teacher_of):
    requests = [[_request(1, 1, prompt=f"{a}{b}85+5874=") for a in range(1, 9)] for b in range(4)]
    config = CONFIG.model_copy(update={"max_concurrency": 3})
    with running(TeacherServer(delay_s=0.02)) as server:
        teacher, answers = teacher_of(server, config=config), [None] * 4
        threads = [
            threading.Thread(target=lambda i=i: answers.__setitem__(i, teacher.answer(requests[i])))
            for i in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)
        assert server.max_in_flight == 3
        assert len(server.served) == 32
    assert all(answers)
