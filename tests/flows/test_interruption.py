"""Ctrl-C and SIGTERM: a run stops within seconds, leaves no process behind, and goes on to the same bytes."""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest
from campaign import WHOLE
from dvc_projects import under_dvc
from projects import Project, digests, run_plain
from started import TESTS, all_ended, finished, processes_in, start, start_flow, wait_until

pytestmark = pytest.mark.slow

SECONDS = 30.0  # on a busy machine; about one on an idle one

INTERRUPTIONS = {
    "Ctrl-C in the flow's process": (signal.SIGINT, ()),
    "SIGTERM in shards": (signal.SIGTERM, ("rollout.num_shards=3",)),
}
if WHOLE:  # in short, the last test here has one
    INTERRUPTIONS["Ctrl-C in a process of its own"] = (signal.SIGINT, ("compute.where={verify: process}",))


@pytest.mark.parametrize(("sign", "settings"), INTERRUPTIONS.values(), ids=INTERRUPTIONS)
def test_an_interrupted_run_ends_in_seconds_with_all_that_it_started_and_goes_on(
    project: Project, sign: signal.Signals, settings: tuple[str, ...]
):
    project.edit(train__num_rounds=200, train__checkpoint_every=50)
    process = start_flow(project, "omniopd", *settings)
    wait_until(lambda: len(list(project.root.glob("runs/*/manifests/round-*"))) > 1, process)
    before = time.monotonic()
    process.send_signal(sign)
    process.communicate(timeout=180)
    assert time.monotonic() - before < SECONDS
    assert process.returncode != 0
    assert all_ended(project.root), processes_in(project.root)

    [run_dir] = [path.parent for path in project.root.glob("runs/*/manifests")]
    done = sorted(path.name for path in run_dir.glob("manifests/round-*"))
    mtimes = [(run_dir / "manifests" / name).stat().st_mtime_ns for name in done]
    again = start_flow(project, "omniopd", *settings)
    wait_until(lambda: len(list(run_dir.glob("manifests/round-*"))) > len(done), again)
    again.kill()
    again.communicate()
    assert [(run_dir / "manifests" / name).stat().st_mtime_ns for name in done] == mtimes


@pytest.fixture
def pipeline(project: Project) -> Project:
    """A project under git and DVC."""
    return under_dvc(project).edit(train__num_rounds=200, train__checkpoint_every=50)


def test_ctrl_c_ends_dvc_repro_in_seconds_with_its_flow_and_server(pipeline: Project):
    process = start(pipeline, "dvc", "repro", "distill@omniopd-0")
    wait_until(lambda: len(list(pipeline.root.glob("runs/*/manifests/round-*"))) > 1, process)
    before = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole foreground group
    process.communicate(timeout=180)
    assert time.monotonic() - before < SECONDS
    assert process.returncode != 0
    assert all_ended(pipeline.root), processes_in(pipeline.root)


def test_a_flow_whose_dvc_repro_was_killed_goes_on_and_a_second_is_refused(pipeline: Project):
    process = start(pipeline, "dvc", "repro", "distill@omniopd-0")
    wait_until(lambda: len(list(pipeline.root.glob("runs/*/manifests/round-*"))) > 1, process)
    assert process.stdout is not None
    process.kill()
    process.wait()
    process.stdout.close()  # which the flow holds open
    [flow] = [process for process in psutil.process_iter(["cmdline"]) if _is_flow_in(pipeline.root, process)]
    flow.suspend()  # so that it cannot end before the second has begun
    second = start(pipeline, "dvc", "repro", "distill@omniopd-0")
    output, _ = second.communicate(timeout=300)
    assert second.returncode != 0, output
    assert "runs/omniopd-0: is being written by process" in output
    flow.resume()
    flow.terminate()
    assert all_ended(pipeline.root), processes_in(pipeline.root)


def _is_flow_in(root: Path, process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.cwd() == str(root) and "flows" in process.cmdline()
    return False


def test_a_run_that_was_interrupted_in_process_places_and_then_lost_prefect_ends_as_one_left_alone(
    project: Project, tmp_path
):
    twin = project.edit(train__num_rounds=2).copied_to(tmp_path / "twin")
    run_plain(twin.params_file)
    project.edit_paths({"compute.where": {"train": "process"}})
    process = start_flow(project)
    wait_until((project.run_dir() / "manifests" / "round-0000.json").exists, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=180)
    faulty = (sys.executable, str(TESTS / "faulty_prefect.py"), "8", "distill", "--arm", "omniopd")
    output = finished(start(project, *faulty))  # its server answers until the work has begun, and never again
    assert "warning: Prefect's server failed" in output
    assert "500" in output
    assert "Traceback" not in output
    results, expected = digests(project.run_dir()), digests(twin.run_dir())
    results.pop("config.json"), expected.pop("config.json")  # it names the place
    assert results == expected
