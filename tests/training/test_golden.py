"""The recorded runs come out again: what nothing else notices, a changed sum or sign, shows here."""

import json

import pytest
from golden_runs import FOLDER, RUNS, run


@pytest.mark.parametrize("name", RUNS)
def test_five_steps_come_out_as_recorded(name: str):
    recorded = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    assert recorded["settings"] == RUNS[name].determining()

    steps = run(RUNS[name])

    for actual, expected in zip(steps, recorded["steps"], strict=True):
        assert actual == pytest.approx(expected, rel=2e-4, abs=2e-5)
    assert len({step["grad_norm"] for step in steps}) == 5


def test_every_recorded_run_has_a_method():
    assert sorted(path.stem for path in FOLDER.glob("*.json")) == sorted(RUNS)
