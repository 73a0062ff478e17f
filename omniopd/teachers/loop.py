"""The event loop of a process: one thread that makes the calls of all teachers, and keeps their connections."""

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
    """Its result. Where the waiting thread is interrupted, the work is cancelled."""
    future = asyncio.run_coroutine_threadsafe(work, _loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def close() -> None:
    """Close the connections and end the thread; the next work begins another."""
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
    """Close the connections, and end what litellm has running beside its calls."""
    await close_connections()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _loop() -> asyncio.AbstractEventLoop:
    global _running
    with _lock:
        if _running is None:
            loop = asyncio.new_event_loop()
            thread = threading.Thread(target=loop.run_forever, name="teacher", daemon=True)
            thread.start()
            _running = (loop, thread)
            atexit.register(close)
        return _running[0]
