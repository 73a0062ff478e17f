"""`prompts`: the source, its columns, the splits, and what is left out."""

from typing import Any

from pydantic import Field, field_validator

from omniopd.config.schema.evaluation import _with_group
from omniopd.config.schema.section import Section


class PromptColumns(Section):
    """The columns of a source, or paths such as `reward_model.ground_truth`; null where there is none."""

    prompt: str = Field(min_length=1)
    answer: str | None = Field(default=None, min_length=1)
    id: str | None = Field(default=None, min_length=1)
    tests: str | None = Field(default=None, min_length=1)


class EvaluationSet(Section):
    """Questions that no training prompt may overlap with: a file, or a split of a hub dataset."""

    source: str = Field(min_length=1)
    subset: str | None = Field(default=None, min_length=1)
    split: str = Field(default="test", min_length=1)
    prompt: str | None = Field(
        default=None, min_length=1, description="its column; as in prompts.columns where not given"
    )


class Decontaminate(Section):
    """Which training prompts are dropped: those with n words in a row of a prompt that is measured on."""

    against: list[EvaluationSet]
    ngram: int = Field(default=13, gt=1)

    @field_validator("against", mode="before")
    @classmethod
    def _names_alone(cls, against: Any) -> Any:
        if not isinstance(against, list):
            return against
        return [{"source": item} if isinstance(item, str) else item for item in against]


class Prompts(Section):
    source: str = Field(min_length=1)
    subset: str | None = Field(default=None, min_length=1)
    split: str = Field(default="train", min_length=1)
    columns: PromptColumns = PromptColumns(prompt="prompt", answer="answer")
    template: str | None = None
    answer_pattern: str | None = None
    max_prompt_tokens: int | None = Field(default=None, gt=0)
    decontaminate: Decontaminate | None = None
    num_train: int = Field(default=1024, gt=0)
    num_validation: int = Field(default=200, gt=0)
    num_heldout: int = Field(default=500, gt=0)

    @field_validator("template")
    @classmethod
    def _has_a_place(cls, template: str | None) -> str | None:
        if template is not None and "{prompt}" not in template:
            raise ValueError(f"{template!r} has no {{prompt}}; write that where the prompt goes")
        return template

    @field_validator("answer_pattern")
    @classmethod
    def _one_group(cls, pattern: str | None) -> str | None:
        return None if pattern is None else _with_group(pattern)
