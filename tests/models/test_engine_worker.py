"""Engines end with the process that they work for, also where that is killed."""

import subprocess
import sys
import time

from omniopd.data.processes import runs
from omniopd.models.engine_worker import POLL_S

# A worker below an engine below its owner, as vLLM has them; the owner says who they are.
WORKER = """
import sys, time
from omniopd.models.engine_worker import EngineWorker
EngineWorker().end_with(int(sys.argv[1]), sys.argv[2])
print("ready", flush=True)
time.sleep(600)
"""
ENGINE = """
import os, subprocess, sys
worker = subprocess.Popen([sys.executable, "-c", sys.argv[1], *sys.argv[2:]], stdout=subprocess.PIPE, text=True)
print(worker.stdout.readline().strip(), os.getpid(), worker.pid, flush=True)
worker.wait()
"""
OWNER = """
import os, subprocess, sys, time
from omniopd.data.processes import this_process
subprocess.Popen([sys.executable, "-c", sys.argv[1], sys.argv[2], str(os.getpid()), this_process()])
time.sleep(600)
"""


def test_an_engine_and_its_worker_end_with_a_process_that_is_killed():
    command = [sys.executable, "-c", OWNER, ENGINE, WORKER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        word, *pids = owner.stdout.readline().split()
        assert word == "ready"
        time.sleep(2 * POLL_S)
        assert all(runs(int(pid)) for pid in pids), "they end with their owner alone"
        owner.kill()
    deadline = time.monotonic() + 20
    while any(runs(int(pid)) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.1)
