"""A flow whose outcome is that of its work: if Prefect's API fails, the work continues without it."""

import copy
import functools
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

import httpx
from prefect import Flow
from prefect.exceptions import PrefectException

from omniopd.command import warn

log = logging.getLogger(__name__)

INTERRUPTED_S = 10.0  # for threads to end after an interruption
# Raised by Prefect's client inside the work, as for a subflow.
CLIENT_ERRORS = (httpx.HTTPError, PrefectException)


def run_flow(flow: Flow[..., Any], **given: Any) -> Any:
    """Run a flow here, and return or raise the outcome of its work.

    If Prefect's API fails before or during the work, the work continues without Prefect from the files on disk.
    If it fails afterwards, only Prefect's pages miss the end.
    """
    outcome: dict[str, Any] = {}  # plain values: Dask pickles the flow

    @functools.wraps(flow.fn)
    def recorded(*args: Any, **kwargs: Any) -> Any:
        try:
            value = flow.fn(*args, **kwargs)
        except Exception as error:
            outcome["error"] = error
            raise
        outcome["value"] = value
        return value

    attempt = copy.copy(flow)
    attempt.fn = recorded
    try:
        return attempt(**given)
    except Exception as error:
        log.warning("Prefect, or the work, failed", exc_info=True)
        failure = outcome.get("error")
        if failure is not None and not isinstance(failure, CLIENT_ERRORS):
            if error is not failure:
                warn(_failure_text(error, "its pages do not show why the run ended"))
            raise failure from None
        if "value" in outcome:
            warn(_failure_text(error, "its pages do not show that the run is complete"))
            return outcome["value"]
        warn(_failure_text(error, "the run continues without it"))
    with leaving_soon():
        return flow.fn(**given)


@contextmanager
def on_interruption(action: Callable[[], object]) -> Iterator[None]:
    """Call the action if the block ends by Ctrl-C, SIGTERM or another exit that is not an Exception."""
    try:
        yield
    except Exception:
        raise
    except BaseException:
        action()
        raise


@contextmanager
def leaving_soon() -> Iterator[None]:
    """If the block is interrupted, by SIGTERM too, end this process soon, whatever its threads do.

    A thread cannot be interrupted while it works. It need not be: its files are complete or absent.
    """
    before = signal.signal(signal.SIGTERM, _interrupted)
    try:
        with on_interruption(leave_soon):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


def leave_soon() -> None:
    """End this process in INTERRUPTED_S at the latest."""
    last = threading.Timer(INTERRUPTED_S, os._exit, (130,))
    last.daemon = True
    last.start()


def _interrupted(sign: int, frame: FrameType | None) -> NoReturn:
    del frame
    raise SystemExit(128 + sign)


def _failure_text(error: Exception, consequence: str) -> str:
    causes = [str(cause).strip() or type(cause).__name__ for cause in (error, error.__cause__) if cause]
    reason = ": ".join(text.splitlines()[0][:160] for text in causes)
    return f"Prefect's server failed ({reason}); {consequence}"
