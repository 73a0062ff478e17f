"""Kills at random moments of short runs over every method: the same command ends each as if there had been none.

NUM_KILLS below, or as many as OMNIOPD_TEST_KILLS says (`make test-faults`: 200), drawn from OMNIOPD_TEST_SEED.
"""

import itertools
import os
import random
import shutil
import signal
from collections import Counter

import pytest
from campaign import ARMS, MOST_IN_FLIGHT, Shop, account, where_it_stands

NUM_KILLS = int(os.environ.get("OMNIOPD_TEST_KILLS", "14"))
SEED = int(os.environ.get("OMNIOPD_TEST_SEED", "0"))


@pytest.mark.timeout(60 + 30 * NUM_KILLS)
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
            assert 0 <= shop.count_lost() <= MOST_IN_FLIGHT
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
