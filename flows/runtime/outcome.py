"""A flow whose outcome is that of its work: where Prefect's API fails, the work continues without it."""

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

INTERRUPTED_S = 10.0  # that threads have to end after an interruption
PREFECTS = (httpx.HTTPError, PrefectException)  # what its client raises inside the work, as for a subflow


class Outcome:
    """What a flow's work came to, whatever Prefect makes of it."""

    def __init__(self):
        self.is_done = False
        self.value: Any = None
        self.error: Exception | None = None

    def of(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """The work, which leaves here what it came to."""

        @functools.wraps(work)
        def recorded(*args: Any, **kwargs: Any) -> Any:
            try:
                self.value = work(*args, **kwargs)
            except Exception as error:
                self.error = error
                raise
            self.is_done = True
            return self.value

        return recorded


def run_flow(flow: Flow[..., Any], **given: Any) -> Any:
    """Run a flow here, and return or raise what its work came to.

    Where Prefect's API fails before or during the work, the work continues without Prefect from the files on disk.
    Where it fails afterwards, only Prefect's pages miss the end.
    """
    outcome, attempt = Outcome(), copy.copy(flow)
    attempt.fn = outcome.of(flow.fn)
    try:
        return attempt(**given)
    except Exception as error:
        log.warning("Prefect, or the work, failed", exc_info=True)
        if outcome.error is not None and not isinstance(outcome.error, PREFECTS):
            if error is not outcome.error:
                warn([_said(error, "its pages do not show why the run ended")])
            raise outcome.error from None
        if outcome.is_done:
            warn([_said(error, "its pages do not show that the run is complete")])
            return outcome.value
        warn([_said(error, "the run continues without it")])
    with leaving_soon():
        return flow.fn(**given)


@contextmanager
def leaving_soon() -> Iterator[None]:
    """Where the block is interrupted, by SIGTERM too, end this process before long, whatever its threads do.

    A thread in the midst of its work cannot be interrupted; what it writes is whole or absent, so it need not be.
    """
    before = signal.signal(signal.SIGTERM, _interrupted)
    try:
        yield
    except Exception:
        raise
    except BaseException:
        leave_soon()
        raise
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


def _said(error: Exception, consequence: str) -> str:
    causes = [str(found).strip() or type(found).__name__ for found in (error, error.__cause__) if found]
    reason = ": ".join(text.splitlines()[0][:160] for text in causes)
    return f"Prefect's server failed ({reason}); {consequence}"
