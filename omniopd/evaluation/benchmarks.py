"""The benchmarks that a model can be measured on: the source of each, its prompts, sampling and grading.

Each has a file in the folder `suite`, which holds none of its items.
"""

from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from ruamel.yaml import YAML

from omniopd.config import Evaluation
from omniopd.config.messages import nearest, validated
from omniopd.config.schema.sampling import MinP, Stop, TopK, TopP
from omniopd.data.decoding import Decoding
from omniopd.errors import ConfigError
from omniopd.grading.graders import Grader, grader_of
from omniopd.settings import Key, Section

SUITE = files("omniopd.evaluation") / "suite"


class BenchmarkColumns(Section):
    """The columns of the dataset.

    The tests of a program are the values of several columns, by name; each row needs the first of them.
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
    """The responses to an item: how many, how long, and how they are sampled; temperature 0 is greedy."""

    temperature: float = Field(ge=0)
    num_samples: int = Field(gt=0)
    max_new_tokens: int = Field(gt=0)
    top_p: Annotated[TopP, Key.IF_CHANGED] = 1.0
    top_k: Annotated[TopK, Key.IF_CHANGED] = None
    min_p: Annotated[MinP, Key.IF_CHANGED] = 0.0
    stop: Annotated[Stop, Key.IF_CHANGED] = Field(default=[])

    @property
    def decoding(self) -> Decoding:
        """How tokens are chosen."""
        return Decoding(self.temperature, self.top_p, self.top_k, self.min_p, tuple(self.stop))

    @model_validator(mode="after")
    def _differ(self) -> "Sampling":
        if self.temperature == 0 and self.num_samples > 1:
            raise ValueError(
                f"at temperature 0 all {self.num_samples} responses to an item are the same; set num_samples to 1, or "
                "temperature above 0"
            )
        return self


class Benchmark(Section):
    """A benchmark: its source, and how its items are asked, sampled and graded.

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
        """The grader of its responses."""
        return grader_of(Evaluation(grader=self.grader))

    def sampling_with(self, **changes: Any) -> Sampling:
        """The benchmark's sampling with these fields of it changed; None changes nothing.

        >>> benchmark_named("gsm8k").sampling_with(num_samples=4, temperature=0.6).num_samples
        4

        Raises:
            ConfigError: several samples at temperature 0.
        """
        given = {name: value for name, value in changes.items() if value is not None}
        return validated(Sampling, {**self.sampling.model_dump(), **given}, self.name)


def names() -> list[str]:
    """The names of the benchmarks, in alphabetical order."""
    return sorted(file.name.removesuffix(".yaml") for file in SUITE.iterdir() if file.name.endswith(".yaml"))


@cache
def benchmark_named(name: str) -> Benchmark:
    """The benchmark of that name.

    Raises:
        ConfigError: there is none; the message has the nearest name.
    """
    known: dict[str, Any] = dict.fromkeys(names())
    if name not in known:
        raise ConfigError(f"{name}: no such benchmark{nearest(name, known)}")
    file = SUITE / f"{name}.yaml"
    raw = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
    return validated(Benchmark, {"name": name, **raw}, file.name)
