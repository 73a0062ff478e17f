"""The projects that campaigns of faults disturb, and what they come to undisturbed."""

import ctypes
import itertools
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from campaign import Ended, Shop, start_fork_server
from mlflow import MlflowClient
from projects import Project
from teacher_mind import AdditionMind
from teacher_server import TeacherServer, running

Open = Callable[..., Shop]
CLONE_NEWNS = 0x00020000


@pytest.fixture(
    scope="session", autouse=True
)  # before the fork server, whose processes inherit the namespace
def has_mount_namespace() -> bool:
    """Whether this process now has a mount namespace: its mounts vanish when it ends, also when it is killed."""
    return ctypes.CDLL(None).unshare(CLONE_NEWNS) == 0


@pytest.fixture(scope="session")
def shop_server():
    with running(TeacherServer(AdditionMind(noise=0.2), delay_s=0.005)) as server:
        yield server


@pytest.fixture(scope="session")
def open_shop(
    base_project: Project, tmp_path_factory: pytest.TempPathFactory, shop_server: TeacherServer
) -> Open:
    """A new project of an arm, in that folder or one of its own."""
    folder = tmp_path_factory.mktemp("campaign")
    database = folder / "empty.db"
    MlflowClient(f"sqlite:///{database}").search_experiments()  # makes its tables, which takes seconds
    start_fork_server()
    numbers = itertools.count()

    def opened(arm: str, at: Path | None = None) -> Shop:
        name = f"{arm}-{next(numbers)}"
        project = base_project.copied_to((at or folder) / name)
        return Shop(project, arm, shop_server, database, printed=folder / f"{name}.txt")

    return opened


@pytest.fixture(scope="session")
def undisturbed(open_shop: Open) -> Callable[[str], tuple[Ended, float]]:
    """What a run of an arm comes to that nobody disturbs, and the seconds that it takes."""
    known: dict[str, tuple[Ended, float]] = {}

    def of(arm: str) -> tuple[Ended, float]:
        if arm not in known:
            shop = open_shop(arm)
            start = time.monotonic()
            shop.finish()
            seconds = time.monotonic() - start
            assert shop.count_lost() == 0
            known[arm] = shop.ended(), seconds
        return known[arm]

    return of
