"""A benchmark of these tests' own: a YAML file and its items."""

import json
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

CAPITALS = {"France": "Paris", "Spain": "Madrid", "Norway": "Oslo", "Peru": "Lima"}
SETTINGS: dict[str, Any] = {
    "source": "capitals.jsonl",
    "columns": {"prompt": "country", "answer": "capital"},
    "system": "Answer in one word.",
    "examples": [{"prompt": "Italy", "response": "It is Rome."}],
    "template": "The capital of {prompt}?",
    "grader": "pattern",
    "response_pattern": r"It is (\w+)",
    "sampling": {"temperature": 0.5, "num_samples": 2, "max_new_tokens": 8, "stop": ["\n"]},
}


def write_capitals(folder: Path, file: str = "capitals.yaml", **changes: Any) -> Path:
    """The file of the benchmark and its items; a change of None leaves a setting out."""
    settings = {key: value for key, value in {**SETTINGS, **changes}.items() if value is not None}
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"country": country, "capital": capital} for country, capital in CAPITALS.items()]
    (path.parent / "capitals.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    YAML(typ="safe", pure=True).dump(settings, path)
    return path
