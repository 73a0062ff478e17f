"""A teacher in this process: a causal language model."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from omniopd.data.decoding import Decoding
from omniopd.models.chat import excluded_ids
from omniopd.models.generation import generate
from omniopd.models.loading import load_chat, load_model
from omniopd.models.reading import Reading, reading_of
from omniopd.models.text import TextDecoder
from omniopd.teachers.base import TeacherAnswer, TeacherRequest


class InProcessTeacher:
    """A causal language model that reads prefixes in batches of similar length, with little padding.

    A prefix that begins another is read with it, and does not count in batch_size, where the model's cache allows it.
    """

    def __init__(
        self, path: str, *, name: str, temperature: float, batch_size: int,
        template_kwargs: Mapping[str, Any] | None = None,
    ):  # fmt: skip
        self.name = name
        self._chat = load_chat(path, template_kwargs)
        self._model = load_model(path)
        self._decoder = TextDecoder(self._chat)
        self._temperature = temperature
        self._batch_size = batch_size

    def answer(self, requests: Sequence[TeacherRequest]) -> list[TeacherAnswer]:
        if not requests:
            return []
        shape = {
            (request.num_replies, request.max_tokens, request.temperature, request.stop)
            for request in requests
        }
        if len(shape) != 1:
            raise ValueError(
                f"requests must agree in replies, tokens, temperature and stop strings, but have {shape}"
            )
        texts = [self._chat.render(request.messages) + request.prefix for request in requests]
        prefixes = self._chat.encode_rendered(texts)
        temperature, stop = requests[0].temperature, requests[0].stop
        answers: dict[int, TeacherAnswer] = {}
        excluded = excluded_ids(self._chat.tokenizer, self._model.config.get_text_config().vocab_size)
        for indices in _batches(prefixes, self._batch_size, reading_of(self._model)):
            generations = generate(
                self._model,
                [prefixes[i] for i in indices],
                seeds=[[requests[i].seed + n for n in range(requests[i].num_replies)] for i in indices],
                max_new_tokens=requests[0].max_tokens,
                decoding=Decoding(self._temperature if temperature is None else temperature),
                stop_ids=self._chat.stop_ids,
                strings=self._chat.stop_strings(stop) if stop else None,
                excluded=excluded,
            )
            for i, replies in zip(indices, generations, strict=True):
                answers[i] = TeacherAnswer(
                    replies=[self._decoder.text_after(prefixes[i][-1], reply.token_ids) for reply in replies],
                    finish_reasons=[reply.finish_reason for reply in replies],
                    mode="completion",
                    prompt_tokens=len(prefixes[i]),
                    completion_tokens=sum(len(reply.token_ids) for reply in replies),
                )
        return [answers[i] for i in range(len(requests))]


def _batches(prefixes: Sequence[list[int]], batch_size: int, reading: Reading) -> Iterator[list[int]]:
    """Indices of the prefixes to read together: batch_size rows of similar length, each with the prefixes in it."""
    rows, row_of_prefix = reading.rows(prefixes)
    members: list[list[int]] = [[] for _ in rows]
    for i, row in enumerate(row_of_prefix):
        members[row].append(i)
    members.sort(key=lambda indices: max(len(prefixes[i]) for i in indices))
    for first in range(0, len(members), batch_size):
        yield list(chain.from_iterable(members[first : first + batch_size]))
