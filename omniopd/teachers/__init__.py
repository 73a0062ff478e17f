"""Who answers: prefixes in, texts out, and nothing else of a teacher."""

from omniopd.teachers.base import Teacher, TeacherAnswer, TeacherRequest
from omniopd.teachers.in_process import InProcessTeacher
from omniopd.teachers.kinds import kind_of
from omniopd.teachers.solutions import solutions
from omniopd.teachers.verify import verify

__all__ = ["InProcessTeacher", "Teacher", "TeacherAnswer", "TeacherRequest", "kind_of", "solutions", "verify"]
