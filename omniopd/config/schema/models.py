"""`models`: the student, and the models of the demo."""

from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator, model_validator

from omniopd.settings import Key, Section

DEMO = "demo"  # the name of a model that `base` trains
DEMO_CONTEXT = 128  # its context length, in tokens


class DemoModel(Section):
    """A Qwen3 small enough to train on a CPU, and how it is trained."""

    width: int = Field(gt=0, description="hidden size")
    ffn_width: int = Field(gt=0, description="size of the feed-forward layers")
    num_layers: int = Field(gt=0, description="layers")
    num_heads: int = Field(gt=0, description="attention heads")
    num_steps: int = Field(gt=0, description="training steps")
    batch_size: int = Field(gt=0, description="examples per step")
    num_examples: int = Field(gt=0, description="examples to train on")
    lr: float = Field(gt=0, description="learning rate")

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "DemoModel":
        if self.width % (2 * self.num_heads):
            raise ValueError(
                f"width {self.width} does not split into {self.num_heads} heads of even size; "
                f"make it a multiple of {2 * self.num_heads}"
            )
        return self


class DemoStart(Section):
    """The range of greedy validation accuracy that the demo's student may start with, ends included."""

    lowest: float = Field(
        ge=0, le=1, description="lowest greedy accuracy on validation prompts to start from"
    )
    highest: float = Field(
        ge=0, le=1, description="highest greedy accuracy on validation prompts to start from"
    )
    max_draws: int = Field(gt=0, description="initialisations tried; where none fits, the nearest is kept")

    @model_validator(mode="after")
    def _is_a_range(self) -> "DemoStart":
        if self.lowest > self.highest:
            raise ValueError(f"lowest {self.lowest} is above highest {self.highest}; give a range")
        return self

    def distance(self, accuracy: float) -> float:
        """How far an accuracy lies outside the range; 0 inside."""
        return max(self.lowest - accuracy, accuracy - self.highest, 0.0)


class DemoModels(Section):
    student: DemoModel = DemoModel(
        width=64, ffn_width=128, num_layers=2, num_heads=4, num_steps=450, batch_size=32, num_examples=200, lr=3e-3
    )  # fmt: skip
    teacher: DemoModel = DemoModel(
        width=96, ffn_width=192, num_layers=2, num_heads=4, num_steps=400, batch_size=64, num_examples=25600, lr=4e-3
    )  # fmt: skip
    start: DemoStart = DemoStart(lowest=0.3, highest=0.55, max_draws=6)

    @field_validator("*", mode="before")
    @classmethod
    def _over_the_default(cls, given: Any, info: ValidationInfo) -> Any:
        """Settings that a block leaves out come from the default block."""
        default: Section = cls.model_fields[str(info.field_name)].default
        return {**default.model_dump(), **given} if isinstance(given, dict) else given


class Models(Section):
    student: str = Field(
        default=DEMO,
        min_length=1,
        description="a model directory, a hub name, or demo, which `omniopd base` trains",
    )
    trust_remote_code: Annotated[bool, Key.NEVER] = Field(
        default=False,
        description="run Python code that comes with a model, with your permissions; read it first",
    )
    chat_template_kwargs: Annotated[dict[str, Any], Key.IF_CHANGED] = Field(
        default={},
        description="settings of the student's chat template, such as { enable_thinking: false }, wherever it is used",
    )
    demo: DemoModels = DemoModels()
