"""Prompts as the student reads them."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from omniopd.config import DEMO, Params
from omniopd.data.layout import Layout
from omniopd.data.prompts import Prompt, read_prompts
from omniopd.models.chat import Chat
from omniopd.models.loading import load_chat
from omniopd.tasks import TASKS
from omniopd.training.pretrain import character_tokenizer


@dataclass(frozen=True)
class Shown:
    """A prompt, and the student's tokens of it."""

    prompt: Prompt
    text: str  # of the tokens, special ones included
    num_tokens: int


def show(params: Params, seed: int, split: str, layout: Layout, *, num: int) -> Iterator[Shown]:
    """The first prompts of a split, through the student's tokenizer and chat template.

    Raises:
        DataError: the prompts are missing or damaged.
        ModelError: the student's tokenizer cannot be used.
    """
    name = params.models.student
    if name == DEMO:  # made from the task's alphabet, whether or not `base` has run
        chat = Chat(character_tokenizer(TASKS[params.prompts.source].alphabet))
    else:
        chat = load_chat(layout.named_model(name), params.models.chat_template_kwargs)
    for prompt in islice(read_prompts(layout.prompts(seed, split)), num):
        [ids] = chat.encode([prompt.messages])
        yield Shown(prompt, str(chat.tokenizer.decode(ids, clean_up_tokenization_spaces=False)), len(ids))
