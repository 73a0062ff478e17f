"""Who answers: prefixes in, texts out, and nothing else of a teacher."""

import importlib

from omniopd.config import TeacherConfig
from omniopd.errors import ConfigError
from omniopd.teachers.base import Teacher, TeacherAnswer, TeacherRequest
from omniopd.teachers.in_process import InProcessTeacher
from omniopd.teachers.verify import verify

__all__ = ["InProcessTeacher", "Teacher", "TeacherAnswer", "TeacherRequest", "load_teacher", "verify"]


def load_teacher(config: TeacherConfig, *, path: str) -> Teacher:
    """The teacher that params.yaml names, from the directory or hub name that `base` resolved.

    `kind: package.module:Class` is called as InProcessTeacher is.

    Raises:
        ConfigError: there is no such class.
    """
    make = InProcessTeacher if config.kind == "transformers" else _imported(config.kind)
    return make(path, name=config.model, temperature=config.temperature, batch_size=config.batch_size)


def _imported(kind: str) -> type:
    module, _, name = kind.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"params.yaml: teacher.kind: {kind!r} cannot be imported ({error})") from error
