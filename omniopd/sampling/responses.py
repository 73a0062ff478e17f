"""From prompts to responses, for rollouts, validation, held-out accuracy and benchmarks alike."""

from collections.abc import Sequence
from dataclasses import dataclass

from omniopd.data.decoding import Decoding, before_stop
from omniopd.data.prompts import Prompt
from omniopd.errors import RunError
from omniopd.models.chat import Chat
from omniopd.models.generation import Generation
from omniopd.models.text import TextDecoder
from omniopd.sampling.samplers import InProcessSampler, Sampler, Student


@dataclass(frozen=True)
class Writer:
    """A sampler, the chat of its model, and the digest of the weights that it must sample with."""

    sampler: Sampler
    chat: Chat
    weights: str


@dataclass(frozen=True)
class Response:
    """A response to a prompt: its `number`th sample, as tokens and as text.

    >>> sample = Generation([5, 10, 16], "stop")
    >>> Response(Prompt("p", "40+2=", "42"), [4, 0, 10, 2], 0, 17, sample, "42").is_finished
    True
    """

    prompt: Prompt
    prompt_ids: list[int]
    number: int
    seed: int
    generation: Generation
    text: str

    @property
    def is_finished(self) -> bool:
        """Whether it ended with an end token or a stop string, rather than at max_new_tokens."""
        return self.generation.finish_reason == "stop"


def writer_for(student: Student, sampler: Sampler) -> Writer:
    """A writer whose sampler must have the student's weights."""
    return Writer(sampler, student.chat, student.digest)


def in_process(student: Student, *, batch_size: int, scores: bool = False) -> Writer:
    """The writer that samples with the student's own model; scores as for `InProcessSampler`."""
    return writer_for(student, InProcessSampler(student, batch_size=batch_size, scores=scores))


def respond(
    writer: Writer,
    prompts: Sequence[Prompt],
    *,
    seeds: Sequence[Sequence[int]],
    max_new_tokens: int,
    decoding: Decoding,
    purpose: str,
) -> list[Response]:
    """len(seeds[i]) responses to each prompt i, prompt by prompt.

    `purpose` begins the message of an error: "round 3", "gsm8k".

    Raises:
        RunError: a response was sampled with weights other than the writer's.
    """
    decoder = TextDecoder(writer.chat)
    prompt_ids = writer.chat.encode([prompt.messages for prompt in prompts])
    samples = writer.sampler.sample(
        prompt_ids,
        seeds=seeds,
        max_new_tokens=max_new_tokens,
        decoding=decoding,
        stop_ids=writer.chat.stop_ids,
    )
    responses = []
    for prompt, ids, prompt_seeds, prompt_samples in zip(prompts, prompt_ids, seeds, samples, strict=True):
        for number, (seed, sample) in enumerate(zip(prompt_seeds, prompt_samples, strict=True)):
            if sample.weights != writer.weights:
                raise RunError(
                    f"{purpose}: the engine wrote a response to prompt {prompt.id!r} with weights "
                    f"{sample.weights or 'unknown'}, and they should be {writer.weights}; stale weights are neither "
                    "trained on nor measured: start the run again, or set rollout.engine: transformers"
                )
            text = before_stop(decoder.text(sample.generation.token_ids, before=ids[-1]), decoding.stop)
            responses.append(Response(prompt, ids, number, seed, sample.generation, text))
    return responses
