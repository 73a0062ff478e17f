"""Who answers: prefixes in, texts out, and nothing else of a teacher."""

from collections.abc import Callable
from typing import cast

from omniopd.config import TeacherConfig, imported
from omniopd.errors import ConfigError
from omniopd.teachers.base import Teacher, TeacherAnswer, TeacherRequest
from omniopd.teachers.in_process import InProcessTeacher
from omniopd.teachers.solutions import solutions
from omniopd.teachers.verify import verify

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


def load_teacher(config: TeacherConfig, *, path: str) -> Teacher:
    """The teacher that params.yaml names, from the directory or hub name that `base` resolved.

    `kind: package.module:Class` is called as InProcessTeacher is.

    Raises:
        ConfigError: there is no such class.
    """
    return teacher_class(config.kind)(
        path, name=config.model, temperature=config.temperature, batch_size=config.batch_size
    )


def teacher_class(kind: str) -> Callable[..., Teacher]:
    """The class that makes teachers of a kind.

    Raises:
        ConfigError: it cannot be imported.
    """
    if kind == "transformers":
        return InProcessTeacher
    try:
        return cast(Callable[..., Teacher], imported(kind))
    except ConfigError as error:
        raise ConfigError(f"teacher.kind: {error}") from error
