"""The packaged benchmarks."""

import re

import pytest

from omniopd.config.benchmarks import benchmark_named, names
from omniopd.errors import ConfigError

PACKAGED = [
    "aime24",
    "aime25",
    "amc23",
    "gsm8k",
    "humaneval",
    "humanevalplus",
    "livecodebench",
    "math500",
    "mbpp",
    "mbppplus",
    "olympiadbench",
]


def test_the_packaged_benchmarks_are_there():
    assert names() == PACKAGED


@pytest.mark.parametrize("name", PACKAGED)
def test_a_benchmark_says_how_it_is_asked_and_graded(name: str):
    benchmark = benchmark_named(name)

    assert set(benchmark.shown) <= set(benchmark.columns.record)
    assert benchmark.about
    assert benchmark.licence
    assert benchmark.expected_rows
    assert benchmark.url == f"https://huggingface.co/datasets/{benchmark.source}"
    assert re.fullmatch("[0-9a-f]{40}", benchmark.revision or "0" * 40)
    if benchmark.grader == "math":
        assert benchmark.columns.answer
        assert r"\boxed{}" in benchmark.template
    else:
        assert benchmark.columns.tests


@pytest.mark.parametrize(
    ("name", "answer", "expected"),
    [("gsm8k", "2 + 2 = 4\n#### 1,234", "1,234"), ("aime24", r"$\boxed{025}$", "25"), ("aime24", r"\boxed{000}", "0")],
)  # fmt: skip
def test_the_pattern_finds_the_answer_in_the_solution(name: str, answer: str, expected: str):
    matches = re.findall(benchmark_named(name).answer_pattern or "", answer)

    assert matches == [expected]


def test_an_unknown_name_is_refused_with_the_nearest_one():
    with pytest.raises(ConfigError, match=r"^math50: no such benchmark; did you mean 'math500'\?$"):
        benchmark_named("math50")
    with pytest.raises(ConfigError, match="^zzz: no such benchmark; known are aime24, aime25"):
        benchmark_named("zzz")
