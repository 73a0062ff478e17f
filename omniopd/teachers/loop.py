"""The event loop of a process: one thread that makes the calls of all teachers and keeps their connections."""

import asyncio
import atexit
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from omniopd.teachers.calls import close_connections

T = TypeVar("T")

_lock = threading.Lock()
_running: tuple[asyncio.AbstractEventLoop, threading.Thread] | None = None


def run(work: Coroutine[Any, Any, T]) -> T:
    """The result of the work, which is cancelled if the waiting thread is interrupted."""
    global _running
    with _lock:
        if _running is None:
            loop = asyncio.new_event_loop()
            thread = threading.Thread(target=loop.run_forever, name="teacher", daemon=True)
            thread.start()
            _running = (loop, thread)
            atexit.register(close)
        loop = _running[0]
    future = asyncio.run_coroutine_threadsafe(work, loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def close() -> None:
    """Close the connections and end the thread; the next `run` starts another."""
    global _running
    with _lock:
        if _running is None:
            return
        (loop, thread), _running = _running, None
    asyncio.run_coroutine_threadsafe(_end(), loop).result(timeout=10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(timeout=10)
    loop.close()


async def _end() -> None:
    """Close the connections, and cancel the background tasks of litellm."""
    await close_connections()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
