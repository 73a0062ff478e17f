"""`tracking` and `alarms`: MLflow, and the limits of warnings."""

from pydantic import Field

from omniopd.settings import Section


class Tracking(Section):
    enabled: bool = Field(default=True, description="log runs to MLflow")
    uri: str = Field(default="sqlite:///mlflow.db", min_length=1, description="tracking URI")
    ui: str = Field(
        default="http://127.0.0.1:5000",
        min_length=1,
        description="where `make ui` listens, for links; a tracking server is linked by its own address",
    )
    experiment: str = Field(default="omniopd", min_length=1, description="name of the experiment")


class Alarms(Section):
    """The limits beyond which a round's metrics raise alarms; null: never."""

    cut_share: float | None = Field(
        default=0.5, ge=0, le=1, description="above: share of responses cut at max_new_tokens"
    )
    repetition: float | None = Field(
        default=0.1, ge=0, le=1, description="above: share of a response in loops"
    )
    anchor_kl: float | None = Field(
        default=1.0, ge=0, description="above: nats per token between the student and its reference"
    )
    zero_agreement: float | None = Field(
        default=0.5, ge=0, le=1, description="above: share of audited chunks that resemble no reply"
    )
    k_sem_over_floor: float | None = Field(
        default=0.05, description="below: k_sem minus that of unrelated text"
    )
    audited_share: float | None = Field(
        default=0.0, ge=0, le=1, description="not above: share of trained tokens that the teacher judged"
    )
    grad_norm: float | None = Field(
        default=10.0, gt=1, description="above: multiple of the median gradient norm of the rounds before"
    )
    accuracy_drop: float | None = Field(
        default=0.1, ge=0, le=1, description="above: greedy validation accuracy below the best of the run"
    )
