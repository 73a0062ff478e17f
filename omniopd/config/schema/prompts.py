"""`prompts`: the source, its columns, the splits, and what is left out."""

from typing import Annotated, Any

from pydantic import Field, field_validator

from omniopd.config.schema.evaluation import AnswerPattern, Example, Template, Text
from omniopd.settings import Key, Section


class PromptColumns(Section):
    """The columns of a source, or paths such as `reward_model.ground_truth`; null where there is none."""

    prompt: str = Field(min_length=1, description="of the prompt: text, or a list of messages")
    answer: str | None = Field(default=None, min_length=1, description="of the reference answer")
    id: str | None = Field(default=None, min_length=1, description="of the id; null: a hash of the text")
    tests: str | None = Field(default=None, min_length=1, description="of the tests that a program must pass")


class EvaluationSet(Section):
    """Questions that no training prompt may overlap with: a file, or a split of a hub dataset."""

    source: str = Field(min_length=1, description="a file or a hub dataset")
    subset: str | None = Field(default=None, min_length=1, description="of a hub dataset that has several")
    split: str = Field(default="test", min_length=1, description="of a hub dataset")
    prompt: str | None = Field(
        default=None, min_length=1, description="its column; as in prompts.columns where not given"
    )


class Decontaminate(Section):
    """Drop training prompts that share n consecutive words with a prompt to measure on."""

    against: list[EvaluationSet] = Field(description="files or hub datasets")
    ngram: int = Field(default=13, gt=1, description="consecutive words in common")

    @field_validator("against", mode="before")
    @classmethod
    def _names_alone(cls, against: Any) -> Any:
        if not isinstance(against, list):
            return against
        return [{"source": item} if isinstance(item, str) else item for item in against]


class Prompts(Section):
    source: str = Field(
        min_length=1,
        description="a built-in task (addition, chain), a file (JSON lines, JSON, CSV, Parquet) or a hub dataset",
    )
    subset: str | None = Field(default=None, min_length=1, description="of a hub dataset that has several")
    split: str = Field(
        default="train", min_length=1, description="of a hub dataset; all prompts are drawn from it"
    )
    columns: PromptColumns = PromptColumns(prompt="prompt", answer="answer")
    template: Template | None = Field(
        default=None,
        description="text around each prompt, with {prompt} in its place; the chat template is applied after it",
    )
    system: Annotated[Text | None, Key.IF_CHANGED] = Field(
        default=None, description="a system message before each prompt that has none; null: none"
    )
    examples: Annotated[list[Example], Key.IF_CHANGED] = Field(
        default=[],
        description="worked examples before each prompt, as turns: [{ prompt: 2+2=, response: '4' }]; `template` is "
        "applied to their prompts too",
    )
    answer_pattern: AnswerPattern | None = Field(
        default=None,
        description="the first group of its last match in the answer column is the answer; null: the whole column",
    )
    max_prompt_tokens: int | None = Field(
        default=None,
        gt=0,
        description="drop longer prompts, counted with the student's tokenizer and chat template",
    )
    decontaminate: Decontaminate | None = Field(
        default=None,
        description="drop training prompts that overlap an evaluation set: { against: [test.jsonl], ngram: 13 }",
    )
    num_train: int = Field(default=1024, gt=0, description="prompts to train on")
    num_validation: int = Field(default=200, gt=0, description="prompts measured during the run")
    num_heldout: int = Field(default=500, gt=0, description="prompts measured once, at the end")
