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


Text = Annotated[str, AfterValidator(_not_blank)]  # not blank
Template = Annotated[str, AfterValidator(_with_place)]  # with {prompt} in it


class Example(Section):
    """A worked example: a prompt, and a response as the model should write it."""

    prompt: Text = Field(description="as the user's turn")
    response: Text = Field(description="as the assistant's turn")


class Evaluation(Section):
    grader: str = Field(
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
    top_p: Annotated[TopP, Key.IF_CHANGED] = 1.0
    top_k: Annotated[TopK, Key.IF_CHANGED] = None
    min_p: Annotated[MinP, Key.IF_CHANGED] = 0.0

    @field_validator("grader")
    @classmethod
    def _known_grader(cls, grader: str) -> str:
        if not re.fullmatch(r"pattern|math|code|[\w.]+:\w+", grader):
            raise ValueError(
                f"{grader!r} is not a grader; write math, code, pattern, or package.module:Class"
            )
        return grader

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


class Benchmarks(Section):
    """What models are measured on besides the held-out prompts, and deviations from the benchmarks' own settings."""

    suite: list[str] = Field(
        default=[],
        description="benchmarks that `evaluate` runs, such as [gsm8k, math500]; docs/benchmarks.md lists them",
    )
    files: dict[str, str] = Field(
        default={}, description="local files in place of the hub's, such as { gsm8k: test.jsonl }"
    )
    num_items: int | None = Field(
        default=None, gt=0, description="items of each benchmark, in a fixed order; null: all"
    )
    num_samples: int | None = Field(
        default=None, gt=0, description="responses per item; null: the benchmark's own number"
    )
    temperature: float | None = Field(
        default=None, ge=0, description="sampling temperature; null: the benchmark's own"
    )
    max_new_tokens: int | None = Field(
        default=None, gt=0, description="longest response, in tokens; null: the benchmark's own"
    )
    top_p: Annotated[TopP, Key.IF_CHANGED] = 1.0
    top_k: Annotated[TopK, Key.IF_CHANGED] = None
    min_p: Annotated[MinP, Key.IF_CHANGED] = 0.0
    stop: Annotated[Stop, Key.IF_CHANGED] = Field(default=[])
    system: Annotated[str | None, Key.IF_CHANGED] = Field(
        default=None, description="a system message before each item; '': none; null: that of prompts.system"
    )
    examples: Annotated[dict[str, list[Example]], Key.IF_CHANGED] = Field(
        default={},
        description="worked examples before each item, by benchmark: { gsm8k: [{ prompt: ..., response: ... }] }",
    )

    @field_validator("system")
    @classmethod
    def _empty_or_text(cls, system: str | None) -> str | None:
        if system and system.isspace():
            raise ValueError(f"{system!r} is white space; write '' for no system message")
        return system

    @field_validator("suite")
    @classmethod
    def _once(cls, suite: list[str]) -> list[str]:
        if twice := [name for name in dict.fromkeys(suite) if suite.count(name) > 1]:
            raise ValueError(f"{twice[0]} is listed twice; delete one of the two")
        return suite
