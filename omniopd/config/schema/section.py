"""The base of every block of params.yaml."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A block of params.yaml: frozen, and closed to keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
