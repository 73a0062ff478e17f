"""Teachers for tests: small, real implementations of the protocol."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omniopd.errors import TeacherError
from omniopd.teachers import InProcessTeacher, TeacherAnswer, TeacherRequest


class TextOnlyTeacher:
    """The in-process teacher with everything but its text out of reach: any other attribute is an error."""

    def __init__(self, path: str, **settings: Any):
        teacher = InProcessTeacher(path, **settings)

        def answer(requests: Sequence[TeacherRequest]) -> list[TeacherAnswer]:
            answers = teacher.answer(requests)
            for given in answers:
                assert all(type(reply) is str for reply in given.replies)
                assert set(vars(given)) == {
                    "replies",
                    "finish_reasons",
                    "mode",
                    "prompt_tokens",
                    "completion_tokens",
                    "cost_usd",
                    "failure",
                }
            return answers

        self._open = {"name": teacher.name, "answer": answer}

    def __getattribute__(self, name: str) -> Any:
        opened = object.__getattribute__(self, "__dict__").get("_open", {})
        if name in opened:
            return opened[name]
        if name.startswith("__"):
            return object.__getattribute__(self, name)
        raise AttributeError(f"a teacher that only answers text was asked for {name!r}")


ASKED: list[TeacherRequest] = []


class RecordingTeacher:
    """Writes the same to everybody, and adds every request to ASKED."""

    def __init__(self, path: str, *, name: str, temperature: float, batch_size: int):
        del path, temperature, batch_size
        self.name = name

    def answer(self, requests: Sequence[TeacherRequest]) -> list[TeacherAnswer]:
        ASKED.extend(requests)
        return [
            TeacherAnswer(
                ["5+4=9"[: request.max_tokens]] * request.num_replies, ["length"] * request.num_replies,
                mode="completion", prompt_tokens=1, completion_tokens=5,
            )
            for request in requests
        ]  # fmt: skip


class FlakyTeacher(InProcessTeacher):
    """Fails the first time that it is asked in a project, then answers."""

    def answer(self, requests: Sequence[TeacherRequest]) -> list[TeacherAnswer]:
        failed = Path("teacher-failed-once")
        if not failed.exists():
            failed.touch()
            raise TeacherError("the teacher did not answer; ask again")
        return super().answer(requests)
