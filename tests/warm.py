"""`omniopd` and `python -m flows` from a process that has imported others' libraries already.

A command that trains imports for seconds before it does anything, and a pipeline has dozens of them. Here a server
imports those libraries once and forks for each command, which gets the caller's arguments, folder, environment and
streams, and imports the project's own code, and Prefect, whose settings are read at import, by itself.
"""

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

LIBRARIES = (
    "torch", "transformers.models.auto.modeling_auto", "transformers.models.qwen3.modeling_qwen3",
    "transformers.models.auto.tokenization_auto", "peft", "mlflow", "pyarrow.parquet", "sqlalchemy.orm", "fastapi",
    "httpx", "rich.console", "jinja2", "ruamel.yaml",
)  # fmt: skip
CLIENT = """#!{python} -SE
import json, os, socket, sys
name, words = os.path.basename(sys.argv[0]), sys.argv[1:]
if name == "python" and words[:2] != ["-m", "flows"]:
    os.execv({python!r}, [{python!r}, *words])
server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
server.connect({address!r})
asked = {{"name": name, "words": words, "folder": os.getcwd(), "environment": dict(os.environ)}}
socket.send_fds(server, [json.dumps(asked).encode()], [0, 1, 2])
sys.exit(int(server.recv(8) or 1))
"""


@contextmanager
def warm_commands() -> Iterator[Path]:
    """A server for the block, and the folder of the commands that call it: to stand first in PATH."""
    with TemporaryDirectory() as name:  # of a short path, as a socket's must be
        folder = Path(name)
        address = folder / "socket"
        server = subprocess.Popen([sys.executable, "-I", __file__, str(address)])
        try:
            while not address.exists():
                assert server.poll() is None
                time.sleep(0.05)
            for command in ("omniopd", "python"):
                client = folder / command
                client.write_text(CLIENT.format(python=sys.executable, address=str(address)))
                client.chmod(0o755)
            yield folder
        finally:
            server.terminate()
            server.wait()


def _serve(address: str) -> dict[str, Any]:
    """Import, then fork for each caller. Returns in the process of a command alone, with what was asked."""
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.freeze()  # or a collection in a child would copy all of their pages
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(f"{address}.new")
    listener.listen(16)
    os.rename(f"{address}.new", address)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for attendants
    while True:
        caller, _ = listener.accept()
        if os.fork():
            caller.close()
            continue
        listener.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        message, streams, *_ = socket.recv_fds(caller, 1 << 20, 3)
        if command := os.fork():
            _attend(caller, command)
        os.setsid()
        caller.close()
        for stream, descriptor in enumerate(streams):
            os.dup2(descriptor, stream)
            os.close(descriptor)
        return json.loads(message)


def _attend(caller: socket.socket, command: int) -> None:
    """Tell the caller how the command ended; end it where the caller has gone."""
    ended = os.pidfd_open(command)
    readable, _, _ = select.select([ended, caller], [], [])
    if ended not in readable:
        os.killpg(command, signal.SIGKILL)
    _, status = os.waitpid(command, 0)
    code = os.waitstatus_to_exitcode(status)
    if ended in readable:
        caller.send(str(code if code >= 0 else 128 - code).encode())
    os._exit(0)


def _run(asked: dict[str, Any]) -> None:
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    if asked["name"] == "omniopd":
        sys.argv = ["omniopd", *asked["words"]]
        importlib.import_module("omniopd.cli.app").main()
    else:
        sys.path.insert(0, asked["folder"])
        sys.argv = ["", *asked["words"][2:]]
        runpy.run_module("flows", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _run(_serve(sys.argv[1]))
