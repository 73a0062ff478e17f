"""The template of a benchmark, filled with the prompt and other columns of an item."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from omniopd.config.schema.benchmark import PLACE, Benchmark
from omniopd.data.prompts import Prompt


def asked(benchmark: Benchmark, prompt: Prompt, shown: Mapping[str, Any]) -> Prompt:
    """The item in the benchmark's template; `shown` are values of its row by column, besides those of its tests."""
    of_tests = fields_of_tests(prompt) if benchmark.shown else {}
    return replace(prompt, prompt=_filled(benchmark, {**of_tests, **shown, "prompt": prompt.prompt}))


def worked_examples(benchmark: Benchmark) -> list[tuple[str, str]]:
    """The benchmark's worked examples: prompts in its template, and responses."""
    return [
        (_filled(benchmark, {"prompt": example.prompt}), example.response) for example in benchmark.examples
    ]


def fields_of_tests(prompt: Prompt) -> dict[str, Any]:
    """The columns of the item's tests; none where they are code."""
    try:
        fields = json.loads(prompt.tests or "{}")
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _filled(benchmark: Benchmark, fields: Mapping[str, Any]) -> str:
    """The benchmark's template with the fields filled in, without white space around them; others are empty."""
    template = benchmark.template
    for name, other in benchmark.template_with.items():
        template = other if fields.get(name) else template
    return PLACE.sub(lambda place: _text(fields.get(place[1])), template)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(map(str, value)).strip()
    return "" if value is None else str(value).strip()
