"""Teachers that are asked over HTTP: retries do not wait, and no connection stays open."""

from collections.abc import Iterator

import pytest

from omniopd.teachers import loop


@pytest.fixture
def no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow at once, also where the server asks for a pause."""
    monkeypatch.setattr("omniopd.teachers.client.BACKOFF_S", 0.001)
    monkeypatch.setattr("omniopd.teachers.client.MAX_PAUSE_S", 0.01)


@pytest.fixture(scope="module")
def no_connection_left_open() -> Iterator[None]:
    """The loop that all teachers share is closed after the file."""
    yield
    loop.close()
