"""The self-test of `check`: the user's own models, loaded and compared with plain forward passes over a few texts."""

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache

from omniopd.config import DEMO, Params, Precision, RunConfig, Train, resolve
from omniopd.data.conversation import conversation
from omniopd.data.layout import Layout
from omniopd.errors import ModelError
from omniopd.models.chat import Chat
from omniopd.models.loading import WEIGHT_FILES, load_chat, load_model
from omniopd.models.text import PART, Context, TextDecoder
from omniopd.models.threads import use_threads
from omniopd.models.trust import allow_code
from omniopd.preflight.comparisons import (
    Comparison,
    chance_warning,
    check_adapter,
    check_generation,
    check_packed,
    check_padding,
    check_scores,
)
from omniopd.teachers import kind_of

# Of every kind that matters; those that a tokenizer cannot write are left out.
TEXTS = (
    "12+30=42",
    "1+1=2;3+4=7",
    "What is the sum of 17 and 25?",
    "17 + 25 = 42, so the answer is 42.\n#### 42",
    "def add(a, b):\n    return a + b  # the sum\n",
    "Let $x = \\frac{3}{4}$. Then\n\n$$4x - 3 = 0.$$\n",
    "学😀数 — naïve café, Größe: 5 µm",
)
NO_TEXTS = "its tokenizer writes none of the texts of the self-test, so it was not run; take the model's own tokenizer"
READ_BACK = 0.9  # of the places of a text
REPLY_LEN = 6  # tokens that are read back
MAX_BYTES = 4 << 30  # of weights, that check loads; more on a GPU
MAX_BYTES_ON_GPU = 40 << 30


def self_tests(params: Params, layout: Layout) -> tuple[list[str], list[str]]:
    """(lines that say what was tested, warnings), of the student and an in-process teacher, one in memory at a time.

    The demo's models, those on an engine or behind an API, and models that are not on this machine are left out.

    Raises:
        ModelError: what differs from a plain forward pass, one line each.
    """
    use_threads(params.compute.num_threads)
    allow_code(params.models.trust_remote_code)
    lines, warnings, errors = [], [], []
    for place, name, template_kwargs, tests in _planned(params):
        path = layout.named_model(name)
        if (reason := _left_out(path)) is not None:
            lines.append(f"self-test {place}: not run: {reason}")
            continue
        started, problems = time.monotonic(), []
        chat = load_chat(path, template_kwargs)
        if not (texts := usable_texts(chat)):
            warnings.append(f"{place}: {path}: {NO_TEXTS}")
            continue
        for problem in tests(path, chat, texts):
            if isinstance(problem, ModelError):
                problems.append(f"{place}: {path}: {str(problem).removeprefix(f'{path}: ')}")
            else:
                warnings.append(f"{place}: {path}: {problem}")
        errors += problems
        if not problems:
            seconds = time.monotonic() - started
            lines.append(f"self-test {place}: equals plain forward passes ({seconds:.1f} s)")
    if errors:
        raise ModelError("\n".join(errors))
    return lines, warnings


Problems = Iterator[ModelError | str]  # errors and warnings
Tests = Callable[[str, Chat, Sequence[str]], Problems]  # of the model in a path, over texts


def _planned(params: Params) -> Iterator[tuple[str, str, Mapping[str, Any], Tests]]:
    """(place, name, settings of the chat template, tests) of each model that is loaded in this process."""
    configs = [resolve(params, arm, params.seeds[0]) for arm in params.every_arm]
    if params.models.student != DEMO:
        kwargs, tests = params.models.chat_template_kwargs, partial(_student_problems, configs=configs)
        yield "models.student", params.models.student, kwargs, tests
    is_loaded = params.teacher.is_local and kind_of(params.teacher).in_process
    is_tested = params.teacher.model == params.models.student and all(
        config.train.precision == "float32" and config.rollout.engine == "transformers" for config in configs
    )
    if is_loaded and not is_tested and params.teacher.model != DEMO:
        yield "teacher.model", params.teacher.model, params.teacher.chat_template_kwargs, _teacher_problems


def _left_out(path: str) -> str | None:
    """Why a model is not loaded, if it is not."""
    folder = Path(path)
    if not folder.is_dir():
        cached = next(
            (file for name in WEIGHT_FILES if isinstance(file := try_to_load_from_cache(path, name), str)),
            None,
        )
        if cached is None:
            return f"{path} is not on this machine yet; run check again once it is downloaded"
        folder = Path(cached).parent
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    most = MAX_BYTES_ON_GPU if torch.cuda.is_available() else MAX_BYTES
    if size > most:
        return (
            f"{path} has {size / 2**30:.0f} GiB of weights, and check loads at most {most / 2**30:.0f}; a run tests "
            "generation, scores and packing on a few tokens when it starts"
        )
    return None


def _student_problems(path: str, chat: Chat, texts: Sequence[str], configs: Sequence[RunConfig]) -> Problems:
    yield from _text_problems(chat, texts)
    trains: dict[Precision, list[Train]] = {}
    for config in configs:
        trains.setdefault(config.train.precision, []).append(config.train)
    for precision, of_precision in trains.items():
        compared = Comparison(load_model(path, precision=precision), chat, texts)
        engines = {config.rollout.engine for config in configs if config.method.source == "student"}
        tests: list[Callable[[Comparison], None]] = [check_padding, check_scores]
        tests += [check_generation] if "transformers" in engines else []
        tests += [check_packed] if any(train.packing for train in of_precision) else []
        yield from _failures(tests, compared)
        if precision == next(iter(trains)):
            yield from chance_warning(compared)
        del compared
        gc.collect()
        adapters = {str(train.lora): (train.lora, train) for train in of_precision if train.lora}
        for lora, train in adapters.values():
            model = load_model(path, precision=precision, trained=False)
            yield from _failures(
                [partial(check_adapter, lora=lora, precision=train.precision)],
                Comparison(model, chat, texts),
            )
            del model
            gc.collect()


def _teacher_problems(path: str, chat: Chat, texts: Sequence[str]) -> Problems:
    compared = Comparison(load_model(path), chat, texts)
    yield from _failures([check_padding, check_generation], compared)
    yield from chance_warning(compared)
    del compared
    gc.collect()


def _failures(tests: Sequence[Callable[[Comparison], None]], compared: Comparison) -> Problems:
    for test in tests:
        try:
            test(compared)
        except ModelError as error:
            yield error


def usable_texts(chat: Chat) -> list[str]:
    """The texts that the tokenizer writes whole."""
    tokenizer, decoder = chat.tokenizer, TextDecoder(chat)
    return [
        text
        for text in TEXTS
        if decoder.reads(None, list(tokenizer.encode(text, add_special_tokens=False)), text)
    ]


def _text_problems(chat: Chat, texts: Sequence[str]) -> Problems:
    """A warning where replies would be lost: their text is encoded with other tokens after a response."""
    decoder = TextDecoder(chat)
    contexts, replies, expected = [], [], []
    prompt = conversation(texts[0])
    [prompt_ids] = chat.encode([prompt])
    for text in texts:
        ids = list(chat.tokenizer.encode(text, add_special_tokens=False))
        for i in range(1, len(ids)):
            reply = ids[i : i + REPLY_LEN]
            reply_text = decoder.text_after(ids[i - 1], reply)
            if PART not in reply_text and reply_text:
                contexts.append(Context(prompt, prompt_ids, ids[:i]))
                replies.append(reply_text)
                expected.append(reply)
    results = decoder.read_after(contexts, replies)
    num_right = sum(result == ids for result, ids in zip(results, expected, strict=True))
    if num_right < READ_BACK * len(expected):
        place = next(
            i for i, (result, ids) in enumerate(zip(results, expected, strict=True)) if result != ids
        )
        yield (
            f"only {num_right} of {len(expected)} replies are read back as the tokens that they were (not "
            f"{replies[place]!r}), so a teacher's replies would be lost there; take another tokenizer, or a method "
            "that reads whole responses (grpo, opd)"
        )
