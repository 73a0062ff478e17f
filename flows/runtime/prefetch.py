"""Work of the next round, begun in a thread of the flow while this round's goes on."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path

Work = Callable[[], list[Path]]
Begin = Callable[[Work], Future[list[Path]]]


@contextmanager
def ahead() -> Iterator[Begin]:
    """What begins work, as part of the flow's run. It is over when the block is, unless that is interrupted."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="ahead")
    ends_with_it = True
    try:
        yield lambda work: thread.submit(copy_context().run, work)
    except Exception:
        raise
    except BaseException:
        ends_with_it = False
        raise
    finally:
        thread.shutdown(wait=ends_with_it, cancel_futures=True)
