"""Programs that mean harm, in every mode of this machine: what they try is refused, and nothing is left of them."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hostile
import psutil
import pytest
from nobody import NOBODY, as_nobody
from projects import REPOSITORY
from quick import quick

from omniopd.errors import ProcessError
from omniopd.grading.code.sandbox import MODES, Limits, Mode, mode_of_this_machine, run_program

SECRET = "sk-a-key-that-nobody-may-read"
QUICK = Limits(cpu_s=5, wall_s=10, memory_bytes=2**28, scratch_bytes=4 * 2**20, output_bytes=200_000)
PROTECTS_FILES = ("bubblewrap", "namespaces", "root namespaces", "landlock")
IN_NAMESPACES = PROTECTS_FILES[:3]
HOSTILE_MODES = {mode.name: mode for mode in MODES if mode.name != "limits"}


@pytest.fixture(
    scope="module", params=quick(HOSTILE_MODES, keep=HOSTILE_MODES.keys() & {mode_of_this_machine().name})
)
def mode(request: pytest.FixtureRequest) -> Mode:
    """Each mode for hostile programs that works on this machine, for this user."""
    try:
        run_program("", mode=request.param)
    except ProcessError as error:
        pytest.skip(f"not on this machine: {error}")
    return request.param


@pytest.fixture(scope="module")
def around(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Targets of attacks: files with secrets, listening sockets, and a process with a key."""
    folder = tmp_path_factory.mktemp("around")
    for name in ("secret_file", ".env"):
        (folder / name).write_text(SECRET)
    tcp, unix, abstract = (
        socket.create_server(("127.0.0.1", 0)),
        socket.socket(socket.AF_UNIX),
        socket.socket(socket.AF_UNIX),
    )
    udp, datagrams = socket.socket(type=socket.SOCK_DGRAM), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    name = f"omniopd-hostile-{os.getpid()}"
    udp.bind(("127.0.0.1", 0))
    unix.bind(str(folder / "unix"))
    abstract.bind(f"\0{name}")
    datagrams.bind(f"\0{name}-datagrams")
    victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env={"API_KEY": SECRET})
    for listener in (unix, abstract):
        listener.listen()
    yield {
        "secret_file": str(folder / "secret_file"), "env_file": str(folder / ".env"), "project": str(REPOSITORY),
        "home": str(Path.home()), "parent": os.getpid(), "victim": victim.pid, "tcp": tcp.getsockname()[1],
        "udp": udp.getsockname()[1], "unix": str(folder / "unix"), "abstract": name,
        "abstract_datagrams": f"{name}-datagrams",
    }  # fmt: skip
    assert victim.poll() is None, "another process was ended"
    victim.kill()
    victim.wait()
    for one in (tcp, udp, unix, abstract, datagrams):
        one.close()


@pytest.fixture(scope="module")
def attempts(mode: Mode, around: dict[str, Any]) -> dict[str, Any]:
    """The report of a program with all attempts."""
    folder = Path(around["secret_file"]).parent
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    limits, niceness, affinity = _limits_of_this_process(), os.nice(0), os.sched_getaffinity(0)
    os.environ["OMNIOPD_TEST_KEY"] = SECRET
    try:
        outcome = run_program(hostile.program_of_attempts(around), mode=mode)
    finally:
        del os.environ["OMNIOPD_TEST_KEY"]
    assert outcome.exit_code == 0, outcome.stderr
    assert files == {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert (limits, niceness, affinity) == (_limits_of_this_process(), os.nice(0), os.sched_getaffinity(0))
    return hostile.report_of(outcome.stdout)


def _limits_of_this_process() -> tuple[int, int]:
    return psutil.Process().rlimit(psutil.RLIMIT_NOFILE)


def _children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No process and no file of a program is left after it."""
    before = {child.pid for child in _children()}
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    yield
    assert {child.pid for child in _children()} <= before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", hostile.READS)
def test_nothing_outside_is_read(mode: Mode, attempts: dict[str, Any], name: str):
    if mode.name in PROTECTS_FILES:
        assert "refused" in attempts["results"][f"reads: {name}"]
    assert mode.name in PROTECTS_FILES or "read" in mode.description  # a mode that lets files be read says so


@pytest.mark.parametrize("name", hostile.WRITES)
def test_nothing_outside_is_written(attempts: dict[str, Any], name: str):
    assert "refused" in attempts["results"][f"writes: {name}"]


@pytest.mark.parametrize("name", hostile.NETWORK)
def test_no_network_is_reached(attempts: dict[str, Any], name: str):
    assert "refused" in attempts["results"][f"network: {name}"]


@pytest.mark.parametrize("name", hostile.PROCESSES)
def test_no_process_is_touched_or_started(attempts: dict[str, Any], name: str):
    assert "refused" in attempts["results"][f"processes: {name}"]


@pytest.mark.parametrize("name", hostile.RIGHTS)
def test_no_right_is_gained(attempts: dict[str, Any], name: str):
    assert "refused" in attempts["results"][f"rights: {name}"]


def test_the_environment_has_no_key(attempts: dict[str, Any]):
    assert SECRET not in attempts["environment"].values()
    assert set(attempts["environment"]) <= {"HOME", "TMPDIR", "LANG", "PATH", "PYTHONHASHSEED", "PWD",
                                            "PYTHONDONTWRITEBYTECODE", "MALLOC_ARENA_MAX", "LC_CTYPE"}  # fmt: skip


def test_a_process_table_of_its_own_shows_no_other(mode: Mode, attempts: dict[str, Any]):
    assert (attempts["pid"] < 10) == (mode.name in IN_NAMESPACES)


def test_a_program_may_use_its_scratch_folder_and_threads(mode: Mode):
    program = """
import asyncio, os, sys, tempfile, threading
with tempfile.TemporaryDirectory() as folder, open(f'{folder}/scratch', 'w') as file: file.write('x')
threads = [threading.Thread(target=print, args=(i,)) for i in range(3)]
for thread in threads: thread.start(); thread.join()
asyncio.run(asyncio.sleep(0))
os.kill(os.getpid(), 0)
print(os.getcwd())
"""
    outcome = run_program(program, mode=mode, limits=QUICK)
    if mode.name == "seccomp":
        assert "FileNotFoundError" in outcome.stderr  # no folder at all: it writes no file
    else:
        assert outcome.stdout.splitlines()[:3] == ["0", "1", "2"], outcome.stderr
        assert outcome.exit_code == 0


def test_a_fork_bomb_forks_nothing(mode: Mode):
    assert run_program(hostile.FORK_BOMB, mode=mode, limits=QUICK).stdout == "0\n"


def test_a_memory_bomb_ends_at_its_limit(mode: Mode):
    outcome = run_program(hostile.MEMORY_BOMB, mode=mode, limits=QUICK)

    assert "MemoryError" in outcome.stderr
    assert outcome.exit_code == 1


@pytest.mark.parametrize(
    "program", [hostile.ENDLESS_OUTPUT, hostile.ENDLESS_ERRORS], ids=["stdout", "stderr"]
)
def test_endless_output_is_cut_as_it_is_read(mode: Mode, program: str):
    outcome = run_program(program, mode=mode, limits=QUICK)

    assert outcome.limit == "output"
    assert max(len(outcome.stdout), len(outcome.stderr)) == QUICK.output_bytes


def test_a_program_that_ignores_signals_is_ended_when_its_time_is_over(mode: Mode):
    outcome = run_program(hostile.IGNORES_SIGTERM, mode=mode, limits=Limits(wall_s=1.0))

    assert (outcome.limit, outcome.stdout) == ("time", "begins\n")
    assert 1 <= outcome.wall_s < 5


def test_processor_time_ends_a_program_that_ignores_the_warning(mode: Mode):
    outcome = run_program(hostile.BURNS_TIME, mode=mode, limits=Limits(cpu_s=1, wall_s=60))

    assert outcome.limit == "time"
    assert outcome.exit_code == -signal.SIGKILL


def test_a_program_that_closes_all_descriptors_is_ended_too(mode: Mode):
    assert run_program(hostile.CLOSES_ALL, mode=mode, limits=Limits(wall_s=0.7)).limit == "time"


@pytest.mark.parametrize("program", [hostile.RECURSION, hostile.RECURSION_IN_C], ids=["Python", "C"])
def test_recursion_without_end_ends(mode: Mode, program: str):
    outcome = run_program(program, mode=mode, limits=Limits(cpu_s=2, wall_s=4, memory_bytes=2**26))

    assert outcome.exit_code not in (0, None) or outcome.limit


def test_a_thread_bomb_is_ended(mode: Mode):
    began = time.monotonic()
    outcome = run_program(hostile.THREAD_BOMB, mode=mode, limits=QUICK)

    assert outcome.limit == "threads" or "can't start new thread" in outcome.stderr
    assert time.monotonic() - began < QUICK.wall_s


@pytest.mark.parametrize(
    "program",
    [hostile.ONE_BIG_FILE, hostile.MANY_FILES, hostile.MANY_NAMES, hostile.LONG_PATHS],
    ids=["one file", "files", "names", "long paths"],
)
def test_the_disk_is_not_filled(mode: Mode, program: str):
    outcome = run_program(program, mode=mode, limits=QUICK)

    refused = any(
        word in outcome.stderr for word in ("File too large", "No space left", "Permission", "not permitted")
    )
    assert outcome.limit == "scratch" or refused


def test_folders_within_folders_are_removed(mode: Mode):
    outcome = run_program(hostile.DEEP_FOLDERS, mode=mode, limits=QUICK)

    assert outcome.stdout == ("" if mode.name == "seccomp" else "deep\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_user_without_rights_is_protected_from_programs_too(mode: Mode, around: dict[str, Any]):
    """All that the program tries to harm is this user's own."""
    if mode.name == "root namespaces":
        pytest.skip("a mode of root")
    secret = Path(tempfile.mkdtemp(dir="/var/tmp")) / "secret_file"
    secret.write_text(SECRET)
    for path in (secret.parent, secret):
        os.chown(path, NOBODY, NOBODY)
    sleeps = ["/usr/bin/sleep", "600"]
    victim = subprocess.Popen(sleeps, env={"API_KEY": SECRET}, user=NOBODY, group=NOBODY, extra_groups=[])
    try:
        given = around | {
            "secret_file": str(secret),
            "env_file": str(secret),
            "victim": victim.pid,
            "parent": victim.pid,
        }
        stdout = as_nobody(mode.name, hostile.program_of_attempts(given))["stdout"].decode()
        results = hostile.report_of(stdout)["results"]
        reached = {name for name, result in results.items() if "reached" in result}
        assert {
            name for name in reached if mode.name in PROTECTS_FILES or not name.startswith("reads: ")
        } == set()
        assert victim.poll() is None
        assert secret.read_text() == SECRET
    finally:
        victim.kill()
        victim.wait()
        shutil.rmtree(secret.parent)
