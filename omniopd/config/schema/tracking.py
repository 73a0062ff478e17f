"""`tracking` and `alarms`: MLflow, and the limits of warnings."""

from pydantic import Field

from omniopd.config.schema.section import Section


class Tracking(Section):
    enabled: bool = True
    uri: str = Field(default="sqlite:///mlflow.db", min_length=1)
    ui: str = Field(default="http://127.0.0.1:5000", min_length=1)
    experiment: str = Field(default="omniopd", min_length=1)


class Alarms(Section):
    """Beyond which value of a round's metric the alarm of that name rings; null: never."""

    cut_share: float | None = Field(default=0.5, ge=0, le=1)
    repetition: float | None = Field(default=0.1, ge=0, le=1)
    anchor_kl: float | None = Field(default=1.0, ge=0)
    zero_agreement: float | None = Field(default=0.5, ge=0, le=1)
    k_sem_over_floor: float | None = 0.05
    audited_share: float | None = Field(default=0.0, ge=0, le=1)
    grad_norm: float | None = Field(default=10.0, gt=1)
    accuracy_drop: float | None = Field(default=0.1, ge=0, le=1)
