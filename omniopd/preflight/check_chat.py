"""What `check` says of chat templates, control tokens in prompts, stop strings and sampling."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from omniopd.config import RunConfig
from omniopd.config.schema.benchmark import Benchmark
from omniopd.data.conversation import Conversation, Message
from omniopd.data.prompts import Prompt
from omniopd.evaluation.templates import worked_examples

if TYPE_CHECKING:
    from omniopd.models.chat import Chat

MARK = "today's date"
SHOWN_LEN = 60  # characters of a prompt in a message


def benchmark_conversations(suite: Sequence[Benchmark]) -> list[Conversation]:
    """A prompt of each benchmark, after its system message and worked examples."""
    return [
        Prompt(benchmark.name, "2+2=").after(benchmark.system, worked_examples(benchmark)).messages
        for benchmark in suite
    ]


def template_warnings(name: str, chat: "Chat") -> list[str]:
    """Where settings of the chat template have no effect, or it writes the date."""
    template, warnings = str(chat.tokenizer.chat_template or ""), []
    unused = [key for key in chat.template_kwargs if not re.search(rf"\b{re.escape(key)}\b", template)]
    if unused:
        warnings.append(
            f"{name}: its chat template has no setting {unused[0]!r}, so chat_template_kwargs changes nothing; fix the "
            "name, or leave it out"
        )
    # The function with which a template asks for the date; an argument takes its place.
    marked = {**chat.template_kwargs, "strftime_now": lambda _: MARK}
    if "strftime_now" in template and MARK in replace(chat, template_kwargs=marked).render("2+2="):
        warnings.append(
            f"{name}: its chat template writes the current date into every prompt, so that a run which goes on "
            "tomorrow, or is repeated, reads other prompts; set the date in chat_template_kwargs (Llama 3: "
            "date_string), or in the template"
        )
    return warnings


def control_token_warnings(name: str, chat: "Chat", prompts: Sequence[Conversation]) -> list[str]:
    """Where a prompt holds the text of a control token, which a tokenizer reads as the token."""
    pattern = _control_tokens(chat)
    marked = [(prompt, match[0]) for prompt in prompts if (match := _first_match(pattern, prompt))]
    if not marked:
        return []
    prompt, token = marked[0]
    others = f" and {len(marked) - 1:,} others" if len(marked) > 1 else ""
    return [
        f"{name}: the prompt {prompt[-1].content[:SHOWN_LEN]!r}{others} contains {token!r}, which is read as a control "
        "token and not as text; leave such prompts out unless that is intended"
    ]


def stop_warnings(name: str, chat: "Chat", stop: Sequence[str]) -> list[str]:
    """Where a stop string contains a control token, which is no part of a response's text."""
    pattern = _control_tokens(chat)
    return [
        f"{name}: the stop string {string!r} contains the control token {match[0]!r}, which has no text, so it never "
        "ends a response; the end tokens of tokenizer, chat template and generation_config.json do so by themselves"
        for string in dict.fromkeys(stop)
        if (match := pattern.search(string))
    ]


def sampling_warnings(configs: Mapping[str, RunConfig]) -> list[str]:
    """Where an arm trains on samples of a part of the student's distribution; configs: by arm."""
    arms = [
        arm
        for arm, config in configs.items()
        if config.method.source == "student" and config.rollout.decoding.is_truncated
    ]
    if not arms:
        return []
    return [
        f"rollout: top_p, top_k or min_p leaves out tokens when {arms[0]} samples, but entropies and losses are of "
        "the student's whole distribution; to leave out tokens in measurements alone, set them in evaluation or "
        "benchmarks"
    ]


def _control_tokens(chat: "Chat") -> re.Pattern[str]:
    """Matches the text of a special token; there is at least one, the end token."""
    added = chat.tokenizer.added_tokens_decoder  # pyright: ignore[reportAttributeAccessIssue]
    special = {*chat.tokenizer.all_special_tokens, *(str(token) for token in added.values() if token.special)}
    return re.compile("|".join(map(re.escape, sorted(special, key=len, reverse=True))))


def _first_match(pattern: re.Pattern[str], prompt: Sequence[Message]) -> re.Match[str] | None:
    return next((match for message in prompt if (match := pattern.search(message.content))), None)
