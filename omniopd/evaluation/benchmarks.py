"""The benchmarks that a model can be measured on: what each is, where it lies, how it is asked and graded.

One file a benchmark, in the folder `suite` beside this module. None of them holds a word of a benchmark itself.
"""

from functools import cache
from importlib.resources import files
from typing import Any, Literal

from pydantic import Field, model_validator
from ruamel.yaml import YAML

from omniopd.config import Evaluation, Section
from omniopd.config.messages import nearest, validated
from omniopd.errors import ConfigError
from omniopd.grading.graders import Grader, grader_of

SUITE = files("omniopd.evaluation") / "suite"


class BenchmarkColumns(Section):
    """Under which names the rows of the dataset hold what.

    The tests of a program are the values of several columns, by name; the first of them is needed in each row.
    """

    prompt: str
    answer: str | None = None
    id: str | None = None
    tests: list[str] = Field(default=[])
    lists: list[str] = Field(
        default=[],
        description="those of them that hold lists; rows with anything else there are not measured",
    )


class Sampling(Section):
    """How many responses an item gets, of what length, and how they are drawn: temperature 0 is greedy."""

    temperature: float = Field(ge=0)
    num_samples: int = Field(gt=0)
    max_new_tokens: int = Field(gt=0)

    @model_validator(mode="after")
    def _differ(self) -> "Sampling":
        if self.temperature == 0 and self.num_samples > 1:
            raise ValueError(
                f"at temperature 0 all {self.num_samples} responses to an item are the same; set num_samples to 1, or "
                "temperature above 0"
            )
        return self


class Benchmark(Section):
    """A benchmark: what it is, where its items lie, how they are asked, sampled and graded.

    >>> gsm8k = benchmark_named("gsm8k")
    >>> gsm8k.num_items, gsm8k.grader, gsm8k.columns.prompt, gsm8k.sampling.temperature
    (1319, 'math', 'question', 0.0)
    """

    name: str
    about: str
    url: str
    licence: str
    source: str = Field(description="its name on the Hugging Face hub")
    subset: str | None = None
    split: str
    revision: str | None = Field(default=None, description="the commit on the hub; None: the newest")
    num_items: int = Field(gt=0, description="how many there are")
    columns: BenchmarkColumns
    answer_pattern: str | None = Field(
        default=None, description="its first group is the answer in the answer's column"
    )
    template: str = Field(description="{prompt} and the names of columns of tests in braces are filled in")
    template_with: dict[str, str] = Field(
        default={}, description="by a column of tests: the template of rows in which that one is not empty"
    )
    grader: Literal["math", "code"]
    sampling: Sampling

    @property
    def judge(self) -> Grader:
        """What grades its responses."""
        return grader_of(Evaluation(grader=self.grader))


class BenchmarkSettings(Section):
    """What a user may change of a benchmark; what is None stays as the benchmark has it.

    >>> BenchmarkSettings(num_samples=4, temperature=0.6).sampling_of(benchmark_named("gsm8k")).num_samples
    4
    """

    temperature: float | None = Field(default=None, ge=0)
    num_samples: int | None = Field(default=None, gt=0)
    max_new_tokens: int | None = Field(default=None, gt=0)
    num_items: int | None = Field(default=None, gt=0, description="the first so many by hash; None: all")
    file: str | None = Field(
        default=None, min_length=1, description="a file of the items, in place of the hub"
    )

    def sampling_of(self, benchmark: Benchmark) -> Sampling:
        """The benchmark's sampling with these settings in place of its own.

        Raises:
            ConfigError: several samples are to be drawn at temperature 0.
        """
        own = self.model_dump(include=set(Sampling.model_fields), exclude_none=True)
        return validated(Sampling, {**benchmark.sampling.model_dump(), **own}, benchmark.name)


def names() -> list[str]:
    """The names of the benchmarks, in the order of the alphabet."""
    return sorted(file.name.removesuffix(".yaml") for file in SUITE.iterdir() if file.name.endswith(".yaml"))


@cache
def benchmark_named(name: str) -> Benchmark:
    """The benchmark of that name.

    Raises:
        ConfigError: there is none; the nearest name is said.
    """
    known: dict[str, Any] = dict.fromkeys(names())
    if name not in known:
        raise ConfigError(f"{name}: no such benchmark{nearest(name, known)}")
    file = SUITE / f"{name}.yaml"
    raw = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
    return validated(Benchmark, {"name": name, **raw}, file.name)
