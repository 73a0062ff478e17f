"""Who answers: prefixes in, texts out, and nothing else of a teacher."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from omniopd.config import TeacherConfig, imported
from omniopd.errors import ConfigError
from omniopd.teachers.base import Teacher, TeacherAnswer, TeacherRequest
from omniopd.teachers.in_process import InProcessTeacher
from omniopd.teachers.solutions import solutions
from omniopd.teachers.verify import verify

if TYPE_CHECKING:
    from omniopd.teachers.probe import Found

__all__ = [
    "InProcessTeacher",
    "Teacher",
    "TeacherAnswer",
    "TeacherRequest",
    "load_teacher",
    "solutions",
    "teacher_class",
    "verify",
]


def load_teacher(config: TeacherConfig, *, path: str, root: Path, found: "Found | None" = None) -> Teacher:
    """The teacher that params.yaml names, from the directory or hub name that `base` resolved.

    root is the folder of params.yaml; found is what a probe made of a teacher behind an API.
    `kind: package.module:Class` is called as InProcessTeacher is.

    Raises:
        ConfigError: there is no such class.
    """
    if config.kind == "api":
        from omniopd.teachers.api import api_teacher  # litellm takes seconds to import

        assert found is not None, "the flow probes an API before it asks"
        return api_teacher(config, found, root=root)
    engine = {"engine": config.engine} if config.kind == "vllm" else {}
    return teacher_class(config.kind)(
        path, name=config.model, temperature=config.temperature, batch_size=config.batch_size, **engine
    )


def teacher_class(kind: str) -> Callable[..., Teacher]:
    """The class that makes teachers of a kind in this process.

    Raises:
        ConfigError: it cannot be imported.
    """
    match kind:
        case "transformers":
            return InProcessTeacher
        case "vllm":
            return _vllm_teacher()
    try:
        return cast(Callable[..., Teacher], imported(kind))
    except ConfigError as error:
        raise ConfigError(f"teacher.kind: {error}") from error


def _vllm_teacher() -> Callable[..., Teacher]:
    try:
        from omniopd.teachers.vllm_engine import VllmTeacher
    except ImportError as error:
        raise ConfigError(
            f"teacher.kind: vllm cannot be imported ({error}); install omniopd[vllm], or take transformers"
        ) from error
    return VllmTeacher
