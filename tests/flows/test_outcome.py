"""What a flow comes to where Prefect's API fails: what its work came to, with a warning that names the failure."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from prefect.exceptions import PrefectHTTPStatusError
from projects import Project

from flows.distill import distill
from flows.runtime.outcome import run_flow
from flows.sweep import sweep
from flows.tasks import called, train
from omniopd.errors import DiskError

REQUEST = httpx.Request("POST", "http://127.0.0.1:4200/api/flow_runs/1/set_state")
FULL = PrefectHTTPStatusError("500: database or disk is full", request=REQUEST, response=httpx.Response(500))
API_FAILURES = [
    FULL,
    httpx.ConnectError("connection refused"),
    httpx.ReadTimeout("timed out"),
    RuntimeError("no API"),
]


class FailingFlow:
    """A flow whose API fails at one of its requests: before the work, or after it."""

    def __init__(self, work: Callable[..., Any], failure: Exception, *, before: bool):
        self.fn = work
        self._failure = failure
        self._before = before

    def __call__(self, **given: Any) -> Any:
        if self._before:
            raise self._failure
        try:
            self.fn(**given)
        finally:
            raise self._failure  # the state that the work came to cannot be set, whichever it is


def _run(work: Callable[..., Any], failure: Exception, *, before: bool) -> Any:
    return run_flow(FailingFlow(work, failure, before=before), arm="sft")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("failure", API_FAILURES, ids=lambda failure: type(failure).__name__)
@pytest.mark.parametrize("before", [True, False])
def test_work_that_is_done_is_done_once_and_returned(failure: Exception, before: bool, capsys):
    calls = []

    def work(arm: str) -> str:
        calls.append(arm)
        return "checkpoint"

    assert _run(work, failure, before=before) == "checkpoint"
    assert calls == ["sft"]
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: Prefect")
    assert str(failure) in line


@pytest.mark.parametrize("failure", API_FAILURES, ids=lambda failure: type(failure).__name__)
@pytest.mark.parametrize("before", [True, False])
def test_the_error_of_the_work_is_what_ends_the_command_and_not_prefects(
    failure: Exception, before: bool, capsys
):
    def work(arm: str) -> str:
        raise DiskError(f"runs/{arm}-0: cannot be written")

    with pytest.raises(DiskError, match="runs/sft-0: cannot be written") as raised:
        _run(work, failure, before=before)
    assert raised.value.__cause__ is None
    assert str(failure) in capsys.readouterr().err


def test_an_api_that_fails_within_the_work_has_it_continued_without_prefect(capsys):
    """As for a subflow, or a slot of the GPU: what was done is on disk, and is found."""
    calls = []

    def work(arm: str) -> str:
        calls.append(arm)
        if len(calls) == 1:
            raise FULL
        return "checkpoint"

    assert _run(work, FULL, before=False) == "checkpoint"
    assert calls == ["sft", "sft"]
    assert "the run continues without it" in capsys.readouterr().err


def test_an_interruption_is_no_failure_of_prefects():
    def work(**_: str) -> str:
        raise KeyboardInterrupt

    class Interrupted(FailingFlow):
        def __call__(self, **given: Any) -> Any:
            return self.fn(**given)

    with pytest.raises(KeyboardInterrupt):
        run_flow(Interrupted(work, FULL, before=False), arm="sft")  # pyright: ignore[reportArgumentType]


def test_outside_of_a_flow_run_steps_are_plain_functions():
    assert called(train) is train.fn
    assert called(sweep) is sweep.fn
    assert called(len) is len


def test_the_work_of_a_real_flow_is_recorded_without_changing_the_flow(project: Project, monkeypatch):
    """Its engine is what fails, before it calls the work."""
    before = distill.fn

    def failing(*_, **__):
        raise FULL

    monkeypatch.setattr("prefect.flow_engine.run_flow", failing)
    project.edit(train__num_rounds=1)
    last = run_flow(distill, arm="omniopd", seed=0, overrides=None, params_file=project.params_file)
    assert last == project.run_dir() / "checkpoints" / "round-0001"
    assert last.is_dir()
    assert distill.fn is before
