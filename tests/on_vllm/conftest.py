"""A real vLLM server on the CPU, as `make serve-demo` starts it: only where vLLM is installed (`make test-vllm`)."""

import os
from collections.abc import Iterator

import pytest
from served import Served, serving

# Of vLLM's build for the CPU, where a test loads it in its own process.
os.environ.update(VLLM_CPU_KVCACHE_SPACE="1", VLLM_CPU_OMP_THREADS_BIND="nobind", VLLM_NO_USAGE_STATS="1")


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served") / "demo") as server:
        yield server
