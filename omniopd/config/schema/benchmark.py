"""The file of a benchmark, packaged or your own: its items, and how they are asked, sampled and graded."""

import re
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from omniopd.config.schema.evaluation import (
    AnswerPattern,
    Evaluation,
    Example,
    GraderName,
    SystemMessage,
    Template,
)
from omniopd.config.schema.sampling import MinP, Stop, TopK, TopP
from omniopd.data.decoding import Decoding
from omniopd.settings import Key, Section

PLACE = re.compile(r"\{([A-Za-z_]\w*(?:\.\w+)*)\}")  # of a template


class BenchmarkColumns(Section):
    """The columns of the items, or paths such as `reward_model.ground_truth`."""

    prompt: str = Field(min_length=1, description="of the question: text, or a list of messages")
    answer: str | None = Field(default=None, min_length=1, description="of the reference answer")
    id: str | None = Field(default=None, min_length=1, description="of the id; null: a hash of the text")
    tests: str | list[str] = Field(
        default=[],
        description="of the tests of a program, in a form of docs/grading.md; several columns are one record, by "
        "name, and each row needs the first of them",
    )
    lists: list[str] = Field(
        default=[],
        description="those of them that hold lists; rows with anything else there are not measured",
    )

    @property
    def record(self) -> list[str]:
        """The columns that make up the record of the tests; none if one column holds the tests as they are."""
        return self.tests if isinstance(self.tests, list) else []

    @property
    def whole_tests(self) -> str | None:
        """The column that holds the tests as they are."""
        return self.tests if isinstance(self.tests, str) else None

    @property
    def named(self) -> list[str]:
        """The columns that the source must have."""
        return [
            name for name in (self.prompt, self.answer, self.whole_tests, *self.record) if name is not None
        ]


class Sampling(Section):
    """The responses to an item: how many, how long, and how they are sampled; temperature 0 is greedy."""

    temperature: float = Field(default=0.0, ge=0)
    num_samples: int = Field(default=1, gt=0)
    max_new_tokens: int = Field(default=2048, gt=0)
    top_p: TopP = 1.0
    top_k: TopK = None
    min_p: MinP = 0.0
    stop: Stop = Field(default=[])

    @property
    def decoding(self) -> Decoding:
        """How tokens are chosen."""
        return Decoding(self.temperature, self.top_p, self.top_k, self.min_p, tuple(self.stop))

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if self.temperature == 0 and self.num_samples > 1:
            raise ValueError(
                f"at temperature 0 all {self.num_samples} responses to an item are the same; set num_samples to 1, or "
                "temperature above 0"
            )
        return self


class Benchmark(Section):
    """A benchmark: its source, and how its items are asked, sampled and graded.

    >>> capitals = Benchmark(name="capitals", source="capitals.jsonl", grader="pattern", response_pattern="is (.*)")
    >>> capitals.template, capitals.columns.prompt, capitals.sampling.max_new_tokens
    ('{prompt}', 'prompt', 2048)
    """

    shown_in: ClassVar[str] = "docs/benchmarks.md"

    name: str = Field(description="in tables, metrics and names of files; by default the name of its file")
    about: Annotated[str, Key.NEVER] = ""
    url: Annotated[str | None, Key.NEVER] = None
    licence: Annotated[str | None, Key.NEVER] = None
    source: str = Field(min_length=1, description="a file, by its path from here, or a dataset of the hub")
    subset: str | None = Field(default=None, min_length=1, description="of a hub dataset that has several")
    split: str = Field(default="test", min_length=1, description="of a hub dataset")
    revision: str | None = Field(default=None, description="the commit on the hub; null: the newest")
    expected_rows: Annotated[int | None, Key.NEVER] = Field(
        default=None, gt=0, description="another number of rows is remarked on"
    )
    columns: BenchmarkColumns = Field(description="by default prompt, id, and answer or tests")
    answer_pattern: AnswerPattern | None = Field(
        default=None, description="the first group of its last match in the answer column is the answer"
    )
    system: SystemMessage = Field(
        default=None, description="a system message before each item; '': none, null: that of prompts.system"
    )
    examples: list[Example] = Field(
        default=[],
        description="worked examples before each item, as turns; `template` is applied to their prompts",
    )
    template: Template = Field(
        default="{prompt}", description="{prompt} and the names of other columns in braces are filled in"
    )
    template_with: dict[str, Template] = Field(
        default={}, description="by a column: the template of rows in which that one is not empty"
    )
    grader: GraderName = Field(description="math, code, pattern, or package.module:Class")
    response_pattern: AnswerPattern | None = Field(
        default=None,
        description="of grader pattern: the first group of its last match is the response's answer",
    )
    sampling: Sampling = Sampling()

    @property
    def shown(self) -> list[str]:
        """The columns besides the prompt's that the templates show or depend on."""
        templates = (self.template, *self.template_with.values())
        filled = {name for template in templates for name in PLACE.findall(template)}
        return sorted((filled | set(self.template_with)) - {"prompt"})

    @property
    def evaluation(self) -> Evaluation:
        """The settings of its grader."""
        return Evaluation(grader=self.grader, answer_pattern=self.response_pattern)

    @field_validator("name")
    @classmethod
    def _names_files(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise ValueError(
                f"{name!r} cannot name files and metrics; write one of letters, digits, '.', '_' and '-'"
            )
        return name

    @model_validator(mode="before")
    @classmethod
    def _usual_columns(cls, values: Any) -> Any:
        """Without `columns`, those of a file that needs no mapping."""
        if not isinstance(values, dict) or "columns" in values:
            return values
        reference = "tests" if values.get("grader") == "code" else "answer"
        return values | {"columns": {"prompt": "prompt", "id": "id", reference: reference}}

    @model_validator(mode="after")
    def _can_be_graded(self) -> Self:
        if self.grader in ("math", "pattern") and self.columns.answer is None:
            raise ValueError(
                f"grader {self.grader} compares with an answer; name its column in columns.answer"
            )
        if self.grader == "code" and not self.columns.tests:
            raise ValueError("grader code runs tests; name their column in columns.tests")
        if (self.grader == "pattern") != (self.response_pattern is not None):
            raise ValueError(
                f"grader is {self.grader!r} and response_pattern {self.response_pattern!r}; the grader pattern needs "
                "one, and no other uses it"
            )
        return self
