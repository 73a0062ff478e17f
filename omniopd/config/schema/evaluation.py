"""`evaluation` and `benchmarks`: how responses are judged, and what is measured."""

import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field, field_validator, model_validator

from omniopd.config.schema.sampling import MinP, Stop, TopK, TopP
from omniopd.data.decoding import Decoding
from omniopd.settings import Key, Section


def _with_group(pattern: str) -> str:
    try:
        num_groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression ({error}); fix it") from error
    if num_groups < 1:
        raise ValueError(f"{pattern!r} has no group; put the part that is the answer in parentheses")
    return pattern


AnswerPattern = Annotated[str, AfterValidator(_with_group)]  # a regular expression with a group


def _not_blank(text: str) -> str:
    if not text or text.isspace():
        raise ValueError("is empty; write some text, or leave it out")
    return text


def _with_place(template: str) -> str:
    if "{prompt}" not in template:
        raise ValueError(f"{template!r} has no {{prompt}}; write that where the prompt goes")
    return template


def _known_grader(grader: str) -> str:
    if not re.fullmatch(r"pattern|math|code|[\w.]+:\w+", grader):
        raise ValueError(f"{grader!r} is not a grader; write math, code, pattern, or package.module:Class")
    return grader


def _empty_or_text(system: str | None) -> str | None:
    if system and system.isspace():
        raise ValueError(f"{system!r} is white space; write '' for no system message")
    return system


Text = Annotated[str, AfterValidator(_not_blank)]  # not blank
Template = Annotated[str, AfterValidator(_with_place)]  # with {prompt} in it
GraderName = Annotated[str, AfterValidator(_known_grader)]
SystemMessage = Annotated[str | None, AfterValidator(_empty_or_text)]  # '': none, even where others have one


class Example(Section):
    """A worked example: a prompt, and a response as the model should write it."""

    prompt: Text = Field(description="as the user's turn")
    response: Text = Field(description="as the assistant's turn")


class Evaluation(Section):
    grader: GraderName = Field(
        default="math",
        description="what judges responses, for rewards too: math (by value), code (by tests), pattern (by text), or "
        "package.module:Class",
    )
    answer_pattern: AnswerPattern | None = Field(
        default=None, description="of grader pattern: the first group of the last match is the answer"
    )
    batch_size: int = Field(default=32, gt=0, description="responses generated at once")
    temperature: Annotated[float, Key.IF_CHANGED] = Field(
        default=1.0, gt=0, description="of the sampled responses to held-out prompts, besides the greedy ones"
    )
    top_p: TopP = 1.0
    top_k: TopK = None
    min_p: MinP = 0.0

    @model_validator(mode="after")
    def _pattern_has_one(self) -> "Evaluation":
        if self.grader == "pattern" and self.answer_pattern is None:
            raise ValueError(
                "grader pattern needs an answer_pattern, and it is null; write one, or take grader: math"
            )
        return self

    def decodings(self, stop: Sequence[str]) -> dict[str, Decoding]:
        """How held-out prompts are answered: greedily, and sampled; `stop` ends responses."""
        ends = tuple(stop)
        return {
            "greedy": Decoding(0.0, stop=ends),
            "sampled": Decoding(self.temperature, self.top_p, self.top_k, self.min_p, ends),
        }

    def determining(self) -> dict[str, Any]:
        """Settings that decide results, without the name `pattern`: runs from before other graders keep their keys."""
        settings = super().determining()
        del settings["grader" if self.grader == "pattern" else "answer_pattern"]
        return settings


class BenchmarkChanges(Section):
    """Deviations from the settings in a benchmark's file; null leaves a setting as the file has it."""

    num_items: int | None = Field(
        default=None, gt=0, description="items of each benchmark, in a fixed order; null: all"
    )
    num_samples: int | None = Field(
        default=None, gt=0, description="responses per item; null: as in the benchmark's file"
    )
    temperature: float | None = Field(
        default=None, ge=0, description="sampling temperature; null: as in the benchmark's file"
    )
    max_new_tokens: int | None = Field(
        default=None, gt=0, description="longest response, in tokens; null: as in the benchmark's file"
    )
    top_p: Annotated[TopP | None, Key.IF_CHANGED] = Field(
        default=None,
        description="sample from the likeliest tokens that sum to this; null: as in the benchmark's file",
    )
    top_k: Annotated[TopK, Key.IF_CHANGED] = Field(
        default=None, description="sample from the k likeliest tokens; null: as in the benchmark's file"
    )
    min_p: Annotated[MinP | None, Key.IF_CHANGED] = Field(
        default=None,
        description="leave out tokens less likely than this times the likeliest; null: as in the benchmark's file",
    )
    stop: Annotated[Stop | None, Key.IF_CHANGED] = Field(
        default=None, description="strings that end a response; null: as in the benchmark's file, []: none"
    )
    system: Annotated[SystemMessage, Key.IF_CHANGED] = Field(
        default=None,
        description="a system message before each item; '': none; null: as in its file, else prompts.system",
    )

    def changed(self) -> dict[str, Any]:
        """Those that are not null."""
        changes = {name: getattr(self, name) for name in BenchmarkChanges.model_fields}
        return {name: value for name, value in changes.items() if value is not None}


def names_a_file(benchmark: str) -> bool:
    """Whether the name of a benchmark is the path of a YAML file; the packaged ones have names without an ending."""
    return benchmark.endswith((".yaml", ".yml"))


class SuiteEntry(BenchmarkChanges):
    """A benchmark to measure: a packaged one by its name, or a file by its path; and settings for it alone."""

    name: str = Field(min_length=1, description="a packaged benchmark, or the path of a YAML file")

    @property
    def is_file(self) -> bool:
        """Whether the name is the path of a file."""
        return names_a_file(self.name)


class Benchmarks(BenchmarkChanges):
    """The benchmarks that models are measured on, and deviations from the settings in their files."""

    suite: list[SuiteEntry] = Field(
        default=[],
        description="benchmarks that `evaluate` runs: [gsm8k, ./my.yaml, { name: aime24, num_samples: 16 }]; "
        "docs/benchmarks.md lists the packaged ones",
    )
    files: dict[str, str] = Field(
        default={},
        description="local files of items in place of the benchmark's, such as { gsm8k: test.jsonl }",
    )
    examples: Annotated[dict[str, list[Example]], Key.IF_CHANGED] = Field(
        default={},
        description="worked examples before each item, by benchmark: { gsm8k: [{ prompt: ..., response: ... }] }",
    )

    @field_validator("suite", mode="before")
    @classmethod
    def _names_alone(cls, suite: Any) -> Any:
        if not isinstance(suite, list):
            return suite
        return [{"name": item} if isinstance(item, str) else item for item in suite]

    @field_validator("suite")
    @classmethod
    def _once(cls, suite: list[SuiteEntry]) -> list[SuiteEntry]:
        names = [entry.name for entry in suite]
        if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
            raise ValueError(f"{twice[0]} is listed twice; delete one of the two")
        return suite

    def determining(self) -> dict[str, Any]:
        """The settings that decide results; an entry without settings is the benchmark's name alone."""
        suite = [
            {"name": entry.name, **changes} if (changes := entry.changed()) else entry.name
            for entry in self.suite
        ]
        return super().determining() | {"suite": suite}
