"""A real vLLM server on the CPU, serving the demo's teacher: only where vLLM is installed (`make test-vllm`)."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from projects import REPOSITORY, Project

from omniopd.config import load_params

# Says who speaks and leaves the last turn open where that is asked: the demo's tokenizer has no template of its own.
TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The repository's demo with its real sizes, its prompts and models made."""
    root = tmp_path_factory.mktemp("demo")
    (root / "params.yaml").write_text((REPOSITORY / "params.yaml").read_text())
    project = Project(root).edit_paths({"tracking.enabled": False, "train.num_rounds": 80})
    project.make_base(load_params(project.params_file).seeds[0])
    return project


@pytest.fixture(scope="session")
def served_model(demo: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's teacher in a folder that `base` will not make anew, with a chat template."""
    import shutil

    seed = load_params(demo.params_file).seeds[0]
    path = tmp_path_factory.mktemp("served") / "teacher"
    shutil.copytree(demo.root / "models" / f"seed-{seed}" / "teacher", path)
    (path / "chat_template.jinja").write_text(TEMPLATE)
    return path


@pytest.fixture(scope="session")
def origin(served_model: Path, tmp_path_factory: pytest.TempPathFactory):
    """The address of the server, without /v1."""
    port, log = _free_port(), tmp_path_factory.mktemp("vllm") / "server.log"
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", served_model,
        "--served-model-name", "demo", "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32",
        "--enforce-eager", "--enable-prefix-caching", "--max-model-len", "128", "--generation-config", "vllm",
    ]  # fmt: skip
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    with log.open("w") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=60)


def _wait_for(url: str, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 300
    while True:
        try:
            urllib.request.urlopen(url, timeout=5)
            return
        except (urllib.error.URLError, OSError):
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(1)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
