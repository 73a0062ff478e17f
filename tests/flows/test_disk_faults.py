"""A disk that is full or read-only: one sentence says what to do, and then the same command ends the run."""

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from campaign import ARMS, MAX_IN_FLIGHT, WHOLE, Shop, half_written
from projects import Project, digests, run_plain
from started import finished, start_flow, wait_until

pytestmark = pytest.mark.slow

SIZE = "64m"


class Disk:
    """A file system of its own."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Leave no byte free."""
        with self._ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                return

    def clear(self) -> None:
        """Take away what fills it."""
        self._ballast.unlink()

    def grow(self) -> None:
        """Have room again, beside what fills it."""
        _mount("-o", "remount,size=256m", self.folder)

    def lock(self) -> None:
        _mount("-o", "remount,ro", self.folder)

    def unlock(self) -> None:
        _mount("-o", "remount,rw", self.folder)


@pytest.fixture
def disk(has_mount_namespace: bool, tmp_path: Path) -> Iterator[Disk]:
    """A small disk; only root may mount one."""
    if not has_mount_namespace:
        pytest.skip("only root can create a mount namespace")
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        _mount("--make-rprivate", "/")
        _mount("-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder)
    except (subprocess.CalledProcessError, FileNotFoundError):
        pytest.skip("no tmpfs can be mounted here")
    yield Disk(folder)
    subprocess.run(["umount", "--lazy", folder], check=True)


def _mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


def _stopped_with_a_sentence(shop: Shop, process) -> str:
    process.join(240)
    output = shop.printed.read_text()
    assert process.exitcode == 2, output
    assert "Traceback" not in output
    return output.splitlines()[-1]


@pytest.mark.parametrize("arm", ARMS if WHOLE else ["grpo", "omniopd"])
def test_a_run_whose_disk_fills_up_says_so_in_a_sentence_and_goes_on_when_there_is_room(
    disk: Disk, open_shop, undisturbed, arm: str
):
    expected, _ = undisturbed(arm)
    shop = open_shop(arm, disk.folder)
    process = shop.start()
    while not (shop.run_dir / "manifests" / "round-0001.json").exists():
        assert process.is_alive(), shop.printed.read_text()
        time.sleep(0.005)
    disk.fill()
    line = _stopped_with_a_sentence(shop, process)
    assert "cannot be written (No space left on device); make room and run the same command" in line
    assert not half_written(shop.project.root)
    assert 0 <= shop.count_lost() <= MAX_IN_FLIGHT
    disk.grow()
    shop.finish()
    shop.check(expected)


@pytest.mark.parametrize("arm", ["grpo", "sft"] if WHOLE else ["grpo"])
def test_a_run_on_a_disk_that_became_read_only_says_so_and_goes_on_when_it_is_not(
    disk: Disk, open_shop, undisturbed, arm: str
):
    expected, _ = undisturbed(arm)
    shop = open_shop(arm, disk.folder)
    process = shop.start(dies_at=20)
    process.join(240)
    assert process.exitcode == -signal.SIGKILL
    shop.count_lost()
    disk.lock()
    line = _stopped_with_a_sentence(shop, shop.start())
    assert "cannot be written (Read-only file system); make it writable and run the same command" in line
    disk.unlock()
    shop.finish()
    shop.check(expected)


def test_the_flow_through_prefect_on_a_disk_that_is_full_or_fills_up_and_on_one_that_is_read_only(
    disk: Disk, project: Project
):
    """Prefect's own database lies on the same disk."""
    run_plain(project.params_file)
    inside = project.copied_to(disk.folder / "project")
    shutil.rmtree(inside.run_dir())
    disk.fill()
    assert "the Prefect server of this run does not start (" in (line := _refused(inside))
    assert "disk is full" in line
    disk.clear()
    disk.lock()
    assert "cannot be written (Read-only file system); make it writable" in _refused(inside)

    disk.unlock()
    process = start_flow(inside.edit_paths({"compute.where": {"roll_out": "process"}}))
    wait_until((inside.run_dir() / "manifests" / "round-0000.json").exists, process)
    disk.fill()
    line = _last_line(process)
    assert "runs/omniopd-0/" in line
    assert "cannot be written (No space left on device); make room and run the same command" in line

    disk.grow()
    finished(start_flow(inside.edit_paths({"compute.where": {}})))
    assert digests(inside.run_dir()) == digests(project.run_dir())


def _refused(project: Project) -> str:
    return _last_line(start_flow(project))


def _last_line(process: subprocess.Popen[str]) -> str:
    """What a flow says at last that stops, by itself and without a traceback."""
    output, _ = process.communicate(timeout=480)
    assert process.returncode == 2, output
    assert "Traceback" not in output
    return output.splitlines()[-1]
