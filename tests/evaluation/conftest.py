"""Items that models are measured on."""

from pathlib import Path

import pytest
from scripted_models import write_sums


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    """Ten questions in the form of GSM8K, in `sums.jsonl`."""
    return write_sums(tmp_path / "sums.jsonl")
