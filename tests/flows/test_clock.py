"""A clock that is set by a year, forward and back, in the midst of a run through Prefect: nothing waits for it."""

import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from campaign import MAX_IN_FLIGHT, Shop
from started import finished, start, wait_until

pytestmark = pytest.mark.slow

YEAR_S = 365 * 86400


class Clock:
    """A wall clock that can be set, for the processes that are started with it; others keep theirs."""

    def __init__(self, folder: Path):
        self._library, self._file = folder / "clock.so", folder / "shift"
        source = Path(__file__).parent / "shifted_clock.c"
        command = ["cc", "-shared", "-fPIC", "-o", self._library, source, "-ldl"]
        subprocess.run(command, check=True, capture_output=True)
        self.shift(0)

    def shift(self, seconds: int) -> None:
        """Set it, so far from the machine's own."""
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("l", seconds))

    def command(self, *words: str) -> list[str]:
        return ["env", f"LD_PRELOAD={self._library}", f"SHIFTED_CLOCK={self._file}", *words]


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    if shutil.which("cc") is None or not sys.platform.startswith("linux"):
        pytest.skip("needs a C compiler, and a loader that lets a library stand in for another")
    return Clock(tmp_path)


def test_the_clock_of_the_test_is_the_one_that_a_process_sees(clock: Clock):
    clock.shift(YEAR_S)
    command = clock.command(
        sys.executable, "-c", "import time, datetime; print(time.time(), datetime.datetime.now().timestamp())"
    )
    seen = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert all(abs(float(moment) - time.time() - YEAR_S) < 60 for moment in seen)


@pytest.mark.timeout(1200)
def test_a_run_whose_clock_jumps_and_that_is_killed_ends_as_one_whose_clock_did_not(
    clock: Clock, open_shop, undisturbed
):
    expected, _ = undisturbed("omniopd")
    shop: Shop = open_shop("omniopd")
    flow = clock.command(sys.executable, "-m", "flows", "distill", "--arm", "omniopd")

    first = start(shop.project, *flow)
    wait_until(lambda: _has(shop, 0), first)
    clock.shift(YEAR_S)
    wait_until(lambda: _has(shop, 2), first)
    first.kill()
    first.communicate()
    assert 0 <= shop.count_lost() <= MAX_IN_FLIGHT

    clock.shift(-YEAR_S)
    second = start(shop.project, *flow)
    wait_until(lambda: _has(shop, 3), second)
    clock.shift(0)
    finished(second)
    shop.check(expected)


def _has(shop: Shop, round_: int) -> bool:
    return (shop.run_dir / "manifests" / f"round-{round_:04d}.json").exists()
