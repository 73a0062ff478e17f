"""A real vLLM server on the CPU, as `make serve-demo` starts it: only where vLLM is installed (`make test-vllm`)."""

from collections.abc import Iterator

import pytest
from served import Served, serving


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served") / "demo") as found:
        yield found
