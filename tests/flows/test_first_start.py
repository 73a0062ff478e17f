"""Runs that start at the same time in a new folder: Prefect's database is made once."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from started import ENVIRONMENT

from flows.runtime.database import first_start

STARTS_A_SERVER = """
import os, sys
from pathlib import Path
from flows.runtime.server import embedded_server, wait_until_ready
from flows.runtime.service import project_state
root = Path(sys.argv[1])
os.environ.update(project_state(root))
with embedded_server(root) as server:
    wait_until_ready(server)
    print("ready")
"""


def test_a_second_server_waits_until_the_first_answers(tmp_path: Path):
    second = threading.Thread(target=lambda: first_start(tmp_path).__enter__(), daemon=True)
    with first_start(tmp_path) as others_may_start:
        second.start()
        second.join(timeout=0.3)
        assert second.is_alive()
        others_may_start()
        second.join(timeout=10)
        assert not second.is_alive()
        with first_start(tmp_path):  # made already: nobody waits any more
            pass


def test_a_server_that_fails_to_start_lets_the_next_one_try(tmp_path: Path):
    with pytest.raises(RuntimeError), first_start(tmp_path):
        raise RuntimeError
    with first_start(tmp_path) as others_may_start:
        others_may_start()


@pytest.mark.slow
def test_three_servers_that_start_at_once_in_a_new_folder_all_answer(tmp_path: Path):
    started = [
        subprocess.Popen(
            [sys.executable, "-c", STARTS_A_SERVER, tmp_path],
            env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for _ in range(3)
    ]  # fmt: skip
    assert [process.communicate(timeout=240)[0].splitlines()[-1] for process in started] == ["ready"] * 3
