"""Kills at random moments of short runs over every method: the same command ends each as if there had been none.

NUM_KILLS below, or as many as OMNIOPD_TEST_KILLS says (`make test-faults`: 200), drawn from OMNIOPD_TEST_SEED.
"""

import itertools
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from campaign import ARMS, MAX_IN_FLIGHT, Shop, account, where_it_stands

pytestmark = pytest.mark.slow

NUM_KILLS = int(os.environ.get("OMNIOPD_TEST_KILLS", "10"))
SEED = int(os.environ.get("OMNIOPD_TEST_SEED", "0"))


@pytest.mark.timeout(300 + 60 * NUM_KILLS)  # against hanging: three times what it takes
def test_a_loop_killed_at_any_moment_ends_with_the_same_bytes_and_pays_for_nothing_twice(
    open_shop, undisturbed
):
    """Every second run has its prompts and models still to make; every second kill is where a file gets its name."""
    rng, kills, arms = random.Random(SEED), Counter(), Counter()
    for number, arm in enumerate(itertools.cycle(ARMS)):
        if arms.total() >= NUM_KILLS:
            break
        expected, seconds = undisturbed(arm)
        shop = open_shop(arm)
        if number % 2:
            for folder in ("data", "models"):
                shutil.rmtree(shop.project.root / folder)
        while _is_killed(shop, rng, seconds):
            arms[arm] += 1
            kills[where_it_stands(shop)] += 1
            seconds *= 1.1  # however slow the machine has become, the run gets on
            assert 0 <= shop.count_lost() <= MAX_IN_FLIGHT
        # It may have ended between the look and the signal; one more start finds nothing left to do.
        shop.finish()
        shop.check(expected)
    print(f"seed {SEED}: {arms.total()} kills: {account(arms)}; {account(kills)}")


def _is_killed(shop: Shop, rng: random.Random, seconds: float) -> bool:
    """Start it, and kill it at some moment or have it die at some file; False where it ended before."""
    if rng.random() < 0.5:
        process = shop.start(dies_at=rng.choice((-1, 1)) * rng.randint(1, 30))
        process.join(240)
    else:
        process = shop.start()
        process.join(rng.uniform(0.02, 0.8) * seconds)
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            process.join()
    return process.exitcode == -signal.SIGKILL


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "a flipped byte": _flip,
    "missing": Path.unlink,
}
UNREAD = ("run.log", "timings.jsonl")  # logs, which are nobody's input


@pytest.mark.parametrize("arm", ARMS)
def test_what_was_damaged_while_a_run_was_dead_is_made_again_and_not_bought_again(
    open_shop, undisturbed, arm: str
):
    """One file of each folder of a run that was killed in its fourth round, damaged in one of three ways."""
    rng = random.Random(f"{SEED} {arm}")
    expected, _ = undisturbed(arm)
    shop = open_shop(arm)
    process = shop.start()
    while not (shop.run_dir / "manifests" / "round-0002.json").exists():
        assert process.is_alive(), shop.printed.read_text()
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    shop.count_lost()
    files = [path for path in shop.run_dir.rglob("*") if path.is_file() and path.name not in UNREAD]
    for folder in sorted({path.parent for path in files}):
        damaged = rng.choice(sorted(path for path in files if path.parent == folder and path.stat().st_size))
        DAMAGES[how := rng.choice(list(DAMAGES))](damaged)
        print(f"{damaged.relative_to(shop.run_dir)}: {how}")
    shop.finish()
    shop.check(expected)
