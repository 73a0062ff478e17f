"""How a benchmark's responses are graded, and what their grades depend on."""

from omniopd.config.schema.benchmark import Benchmark
from omniopd.grading.graders import Grader, grader_of


def judge_of(benchmark: Benchmark) -> Grader:
    """The grader of the benchmark's responses.

    Raises:
        ConfigError: there is no such class, or it is not a grader.
    """
    return grader_of(benchmark.evaluation, place=f"{benchmark.name}: grader")


def grader_key(benchmark: Benchmark) -> str:
    """The settings of the grader, as part of the key of graded responses."""
    return " ".join(filter(None, (benchmark.grader, benchmark.response_pattern)))


def keeps_grades(benchmark: Benchmark) -> bool:
    """Whether the key covers all that grades depend on. It does not cover the code of a class of your own."""
    return ":" not in benchmark.grader
