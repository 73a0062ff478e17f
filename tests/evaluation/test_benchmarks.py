"""The descriptions of the benchmarks, and what a user may change of them."""

import re

import pytest

from omniopd.errors import ConfigError
from omniopd.evaluation.benchmarks import benchmark_named, names

NINE = [
    "aime24",
    "aime25",
    "amc23",
    "gsm8k",
    "humaneval",
    "livecodebench",
    "math500",
    "mbpp",
    "olympiadbench",
]


def test_the_nine_benchmarks_are_there():
    assert names() == NINE


@pytest.mark.parametrize("name", NINE)
def test_a_benchmark_says_how_it_is_asked_and_graded(name: str):
    benchmark = benchmark_named(name)
    templates = [benchmark.template, *benchmark.template_with.values()]
    shown = {place for template in templates for place in re.findall(r"\{(\w+)\}", template)}

    assert all("{prompt}" in template for template in templates)
    assert shown | set(benchmark.template_with) <= {"prompt", *benchmark.columns.tests}
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


def test_settings_change_what_they_name_and_nothing_else():
    aime = benchmark_named("aime25")
    sampling = aime.sampling_with(num_samples=4, temperature=1.0)

    assert (sampling.num_samples, sampling.temperature) == (4, 1.0)
    assert sampling.max_new_tokens == aime.sampling.max_new_tokens
    assert aime.sampling_with(num_samples=None) == aime.sampling


def test_several_greedy_samples_are_refused_with_what_to_do():
    with pytest.raises(
        ConfigError, match=r"gsm8k: at temperature 0 all 4 responses .* are the same; set num_samples"
    ):
        benchmark_named("gsm8k").sampling_with(num_samples=4)
