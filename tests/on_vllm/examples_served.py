"""Requests about the one problem that these tests ask about."""

from omniopd.tasks import TASKS
from omniopd.teachers import TeacherRequest

PROMPT = "4185+5874="


def request(
    length: int, num_replies: int, *, max_tokens: int = 4, temperature: float | None = None, seed: int = 7
) -> TeacherRequest:
    """Go on after the first `length` characters of the solution."""
    prefix = TASKS["addition"].of(4185, 5874).solution[:length]
    return TeacherRequest(f"t/{length}", "t", PROMPT, prefix, num_replies, max_tokens, seed, temperature)
