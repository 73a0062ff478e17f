"""A block of settings, and which of its settings enter the key of a run."""

from enum import Enum
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


class Key(Enum):
    """When a setting enters the key of a run, as metadata of its field; a setting without it always does.

    >>> class Rollout(Section):
    ...     temperature: float = 1.0
    ...     overlap: Annotated[int, Key.IF_CHANGED] = 0
    >>> Rollout().determining(), Rollout(overlap=1).determining()
    ({'temperature': 1.0}, {'temperature': 1.0, 'overlap': 1})
    """

    NEVER = "never"  # no result depends on it: where work is done, what it may cost, where it is logged
    IF_CHANGED = "if changed"  # a setting that was added later: at its default, earlier runs keep their keys


class Section(BaseModel):
    """A block of settings: frozen, unknown names refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    shown_in: ClassVar[str] = (
        "the params.yaml of the repository"  # an example of the whole file, for messages
    )

    def determining(self) -> dict[str, Any]:
        """The settings that decide results, as plain values."""
        settings = self.model_dump()
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            is_default = value == field.get_default(call_default_factory=True)
            if Key.NEVER in field.metadata or (Key.IF_CHANGED in field.metadata and is_default):
                del settings[name]
            elif isinstance(value, Section):
                settings[name] = value.determining()
        return settings
