"""The teacher in this process behind vLLM's offline engine: the same model, read as the other engine reads it."""

from collections import Counter
from dataclasses import replace

import pytest
from examples_served import request
from examples_student import check_ends_with
from served import Served

from omniopd.config import TeacherConfig
from omniopd.teachers import InProcessTeacher, kind_of

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # vLLM's own, of which it has many
    pytest.mark.timeout(900),  # the first test trains what is served
]


ENGINE = {
    "dtype": "float32", "enforce_eager": True, "max_model_len": 128, "block_size": 32, "enable_chunked_prefill": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def teachers(served: Served):
    settings = {"name": "own", "temperature": 1.0, "batch_size": 32}
    vllm_teacher = kind_of(TeacherConfig(kind="vllm", engine=ENGINE)).make_class()(
        str(served.teacher), **settings
    )
    yield InProcessTeacher(str(served.teacher), **settings), vllm_teacher
    vllm_teacher.close()  # pyright: ignore[reportAttributeAccessIssue]


def test_its_likeliest_replies_are_those_of_the_other_engine(teachers):
    requests = [request(length, 1, temperature=0.0, max_tokens=48) for length in (0, 3, 9, 20, 41)]
    expected, answers = (teacher.answer(requests) for teacher in teachers)
    assert answers == expected, "texts, finish reasons, and tokens counted"
    assert {reason for answer in answers for reason in answer.finish_reasons} == {"stop"}


def test_its_samples_are_of_the_same_distribution_and_repeat_by_seed(teachers):
    requests = [
        replace(
            request(6, 16, max_tokens=1, seed=100 * i, temperature=2.0), id=f"t{i}", trajectory_id=f"t{i}"
        )
        for i in range(40)
    ]
    expected, sampled = (
        Counter(reply for answer in teacher.answer(requests) for reply in answer.replies)
        for teacher in teachers
    )
    assert expected.total() == sampled.total() == 640
    assert len(expected) > 5, "there is something to tell apart"
    for text in expected | sampled:
        assert abs(expected[text] - sampled[text]) < 4 * max(expected[text] + sampled[text], 16) ** 0.5
    again = teachers[1].answer(requests[:3])
    assert again == teachers[1].answer(requests[:3])
    assert again[0].replies != again[1].replies


STARTED = """
import json, sys
import psutil
from omniopd.config import TeacherConfig
from omniopd.teachers import kind_of
config = TeacherConfig(kind="vllm", engine=json.loads(sys.argv[2]))
made = kind_of(config).make_class()(sys.argv[1], name="own", temperature=1.0, batch_size=8)
print("pids", *(child.pid for child in psutil.Process().children(recursive=True)), flush=True)
sys.stdin.read()
"""


def test_its_engine_ends_with_a_process_that_is_killed(served: Served):
    check_ends_with(STARTED, served.teacher, ENGINE)
