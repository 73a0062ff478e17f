"""`evaluation` and `benchmarks`: how responses are judged, and what is measured."""

import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from omniopd.config.schema.section import Section


def _with_group(pattern: str) -> str:
    """The pattern, which is a regular expression with a group."""
    try:
        num_groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression ({error}); fix it") from error
    if num_groups < 1:
        raise ValueError(f"{pattern!r} has no group; put the part that is the answer in parentheses")
    return pattern


Grader = Literal["pattern", "math", "code"]


class Evaluation(Section):
    grader: Grader = "math"
    answer_pattern: str | None = None
    batch_size: int = Field(default=32, gt=0)

    @field_validator("answer_pattern")
    @classmethod
    def _one_group(cls, pattern: str | None) -> str | None:
        return None if pattern is None else _with_group(pattern)

    @model_validator(mode="after")
    def _pattern_has_one(self) -> "Evaluation":
        if self.grader == "pattern" and self.answer_pattern is None:
            raise ValueError(
                "grader pattern needs an answer_pattern, and it is null; write one, or take grader: math"
            )
        return self

    @property
    def determining(self) -> dict[str, Any]:
        """What a grade depends on; `pattern` is not named, so that runs from before there were others keep keys."""
        return self.model_dump(exclude={"grader" if self.grader == "pattern" else "answer_pattern"})


class Benchmarks(Section):
    """What models are measured on besides the held-out prompts, and what of it is not as the benchmarks have it."""

    suite: list[str] = Field(default=[])
    files: dict[str, str] = Field(default={})
    num_items: int | None = Field(default=None, gt=0)
    num_samples: int | None = Field(default=None, gt=0)
    temperature: float | None = Field(default=None, ge=0)
    max_new_tokens: int | None = Field(default=None, gt=0)

    @field_validator("suite")
    @classmethod
    def _once(cls, suite: list[str]) -> list[str]:
        if twice := [name for name in dict.fromkeys(suite) if suite.count(name) > 1]:
            raise ValueError(f"{twice[0]} stands there twice; delete one of the two")
        return suite
