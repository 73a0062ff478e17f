"""A teacher in the same process: a model behind the protocol of any other."""

from collections.abc import Iterator, Sequence

from omniopd.models.chat import encode_rendered, end_token, render_prompt
from omniopd.models.generation import Generation, generate, nested
from omniopd.models.loading import load_model, load_tokenizer
from omniopd.models.text import TextDecoder
from omniopd.teachers.base import TeacherAnswer, TeacherRequest


class InProcessTeacher:
    """A causal language model that reads prefixes in batches of like length, so that little of a batch is padding.

    A prefix that another one begins with is read with it, and counts for nothing in batch_size.
    """

    def __init__(self, path: str, *, name: str, temperature: float, batch_size: int):
        self.name = name
        self._tokenizer = load_tokenizer(path)
        self._model = load_model(path)
        self._decoder = TextDecoder(self._tokenizer)
        self._temperature = temperature
        self._batch_size = batch_size

    def answer(self, requests: Sequence[TeacherRequest]) -> list[TeacherAnswer]:
        if not requests:
            return []
        shape = {(request.num_replies, request.max_tokens, request.temperature) for request in requests}
        if len(shape) != 1:
            raise ValueError(f"requests must agree in replies, tokens and temperature, found {shape}")
        prefixes = self._prefixes(requests)
        answers: dict[int, TeacherAnswer] = {}
        for own in _batches(prefixes, self._batch_size):
            batch = self._answer_batch([requests[i] for i in own], [prefixes[i] for i in own])
            answers |= zip(own, batch, strict=True)
        return [answers[i] for i in range(len(requests))]

    def _prefixes(self, requests: Sequence[TeacherRequest]) -> list[list[int]]:
        texts = [render_prompt(self._tokenizer, request.prompt) + request.prefix for request in requests]
        return encode_rendered(self._tokenizer, texts)

    def _answer_batch(
        self, requests: Sequence[TeacherRequest], prefixes: Sequence[list[int]]
    ) -> list[TeacherAnswer]:
        own = requests[0].temperature
        replies = generate(
            self._model,
            prefixes,
            seeds=[[request.seed + n for n in range(request.num_replies)] for request in requests],
            max_new_tokens=requests[0].max_tokens,
            temperature=self._temperature if own is None else own,
            end_id=end_token(self._tokenizer),
        )
        return [self._answer(prefix, own) for prefix, own in zip(prefixes, replies, strict=True)]

    def _answer(self, prefix: list[int], replies: Sequence[Generation]) -> TeacherAnswer:
        return TeacherAnswer(
            replies=[self._decoder.text_after(prefix[-1], reply.token_ids) for reply in replies],
            finish_reasons=[reply.finish_reason for reply in replies],
            mode="completion",
            prompt_tokens=len(prefix),
            completion_tokens=sum(len(reply.token_ids) for reply in replies),
        )


def _batches(prefixes: Sequence[list[int]], batch_size: int) -> Iterator[list[int]]:
    """Which prefixes to read together: each with those that it continues, batch_size readings, of like length."""
    rows, row_of_prefix = nested(prefixes)
    members: list[list[int]] = [[] for _ in rows]
    for i, row in enumerate(row_of_prefix):
        members[row].append(i)
    members.sort(key=lambda own: max(len(prefixes[i]) for i in own))
    for first in range(0, len(members), batch_size):
        yield [i for own in members[first : first + batch_size] for i in own]
