"""Models that write what a function says, measured on benchmarks."""

import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from text_models import text_tokenizer

from omniopd.config import Benchmarks
from omniopd.config.benchmarks import measurements
from omniopd.data.decoding import Decoding
from omniopd.data.layout import Layout
from omniopd.data.records import ItemResult
from omniopd.data.store import read_records
from omniopd.evaluation.suites import Measured, Subject, measure_suite
from omniopd.models.chat import Chat
from omniopd.models.generation import Generation
from omniopd.sampling.responses import Writer
from omniopd.sampling.samplers import Sample

TOKENIZER = text_tokenizer()
CHAT = Chat(TOKENIZER)
END = TOKENIZER.eos_token_id


class Scripted:
    """Writes what a function of prompt and seed says, and counts what it was asked."""

    def __init__(self, write: Callable[[str, int], str], *, weights: str = "w"):
        self.write, self.weights = write, weights
        self.asked: list[tuple[str, tuple[int, ...]]] = []
        self.limits: set[tuple[int, float]] = set()
        self.decodings: set[Decoding] = set()
        self.num_opened = 0

    def opened(self) -> "Scripted":
        self.num_opened += 1
        return self

    def sample(self, prompts, *, seeds, max_new_tokens, decoding, stop_ids) -> list[list[Sample]]:
        self.limits.add((max_new_tokens, decoding.temperature))
        self.decodings.add(decoding)
        texts = [str(TOKENIZER.decode(prompt)) for prompt in prompts]
        self.asked += [(text, tuple(prompt_seeds)) for text, prompt_seeds in zip(texts, seeds, strict=True)]
        return [
            [Sample(_generation(self.write(text, seed), stop_ids[0]), self.weights) for seed in prompt_seeds]
            for text, prompt_seeds in zip(texts, seeds, strict=True)
        ]


def _generation(text: str, end_id: int) -> Generation:
    """`text` with its end; without it where the text has none to show, marked by a tilde."""
    ids = TOKENIZER.encode(text.removesuffix("~"))
    return Generation(ids, "length") if text.endswith("~") else Generation([*ids, end_id], "stop")


def subject(sampler: Scripted, **changes: Any) -> Subject:
    settings: dict[str, Any] = {
        "weights": "w", "chat": CHAT, "engine": {}, "batch_size": 2, "context": None,
    } | changes  # fmt: skip

    def writer() -> Writer:
        return Writer(sampler.opened(), CHAT, settings["weights"])

    return Subject(**settings, writer=functools.cache(writer))


def suite(*names: str, **changes: Any) -> Benchmarks:
    settings = {
        "suite": list(names), "files": {}, "num_items": None, "num_samples": None, "temperature": None,
        "max_new_tokens": None,
    }  # fmt: skip
    return Benchmarks(**{**settings, **changes})


def write_sums(path: Path) -> Path:
    """Ten questions as GSM8K writes them: what is i and 10?"""
    rows = [
        {"question": f"What is {i} and 10?", "answer": f"Put together.\n#### {i + 10}"} for i in range(10)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def right(text: str, seed: int) -> str:
    del seed
    return f"So \\boxed{{{int(text.split()[2]) + 10}}}"


def measured(
    sampler: Scripted, sums: Path, into: str = "m", on_items=lambda *_: None, model: dict[str, Any] | None = None,
    **changes: Any,
) -> Measured:  # fmt: skip
    layout = Layout(sums.parent)
    chosen = suite("gsm8k", **{"files": {"gsm8k": str(sums)}, **changes})
    model_subject = subject(sampler, **(model or {}))
    suite_ = measurements(chosen, layout.root)
    [result] = measure_suite(model_subject, suite_, layout, into=layout.benchmarks(into), on_items=on_items)
    return result


def results(result: Measured) -> Sequence[ItemResult]:
    return read_records(result.results, ItemResult)
