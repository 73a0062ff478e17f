"""One program in one sandbox: its outcome, from threads and processes, as another user, and when its caller ends."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import psutil
import pytest
from nobody import NOBODY, as_nobody
from projects import REPOSITORY
from quick import quick

from omniopd.errors import ProcessError
from omniopd.grading.code.sandbox import (
    MODES,
    Limits,
    Mode,
    Outcome,
    Tests,
    mode_of_this_machine,
    run_program,
)
from omniopd.grading.code.sandbox.isolated import codec, seccomp

ADD = "def add(a, b): return a + b"
ALLOWED, REFUSED, ABSENT = seccomp.ALLOW, seccomp.REFUSE, seccomp.ABSENT


def test_a_program_reads_writes_and_ends_as_python_does():
    outcome = run_program(
        "import sys\nprint(input()[::-1])\nprint('é', file=sys.stderr)\nsys.exit(3)", stdin="abc\n"
    )

    assert (outcome.stdout, outcome.stderr, outcome.exit_code) == ("cba\n", "é\n", 3)
    assert (outcome.limit, outcome.passed) == ("", None)


@pytest.mark.parametrize(
    ("program", "exit_code"),
    [
        ("1/0", 1),
        ("x = (", 1),
        ("import os; os._exit(7)", 7),
        ("import os; os.abort()", -6),
        ("", 0),
        ("\0", 1),
    ],
)
def test_the_exit_code_is_that_of_the_program(program: str, exit_code: int):
    assert run_program(program).exit_code == exit_code


def test_a_program_is_the_main_module_with_its_exit_handlers_and_threads():
    program = """
import atexit, threading, time
from dataclasses import dataclass
@dataclass
class Point: x: "int"
atexit.register(print, "at exit")
threading.Thread(target=lambda: (time.sleep(0.05), print("thread"))).start()
if __name__ == "__main__": print(Point(1), Point.__module__)
"""
    assert run_program(program).stdout == "Point(x=1) __main__\nthread\nat exit\n"


def test_two_runs_of_one_program_write_the_same():
    program = "print({str(i) for i in range(50)})"

    assert run_program(program).stdout == run_program(program).stdout


def test_the_strongest_mode_that_works_is_described_in_a_sentence():
    mode = mode_of_this_machine()

    assert mode.name in [one.name for one in MODES]
    assert mode.description.endswith(".")
    assert mode.description.count(". ") == 0
    for weaker in MODES[3:]:
        assert "but" in weaker.description or "can read and write" in weaker.description


@pytest.mark.parametrize(("bwrap", "why"), [("/bin/false", ""), (None, ": bwrap is not installed")])
def test_a_mode_that_does_not_work_on_this_machine_is_refused(
    monkeypatch: pytest.MonkeyPatch, bwrap: str | None, why: str
):
    monkeypatch.setattr("shutil.which", lambda _: bwrap)

    with pytest.raises(ProcessError, match=f"could not be run in the sandbox 'bubblewrap'{why}"):
        run_program("", mode=MODES[0])


def test_a_machine_without_a_temporary_directory_runs_no_program_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("tempfile.gettempdir", _no_temporary_directory)
    why = "FileNotFoundError: no directory is writable; see docs/grading.md"

    with pytest.raises(ProcessError, match=f"could not be run in the sandbox 'limits': {why}"):
        run_program("", mode=MODES[-1])
    with pytest.raises(ProcessError, match=f"no program can be run on this machine .*'limits': {why}"):
        mode_of_this_machine.__wrapped__()


def _no_temporary_directory():
    raise FileNotFoundError("no directory is writable")


def test_threads_get_each_its_own_outcome():
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda i: run_program(f"print({i})"), range(8)))

    assert [outcome.stdout for outcome in outcomes] == [f"{i}\n" for i in range(8)]


CALLER = """
import sys, threading, types
package = types.ModuleType("omniopd.grading")  # without the libraries of models, which take seconds
package.__path__ = [sys.argv[1] + "/omniopd/grading"]
sys.modules["omniopd.grading"] = package
from omniopd.grading.code.sandbox import MODES, Limits, run_program
program = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
for mode in MODES:
    if mode.name in sys.argv[2:]:
        given = dict(mode=mode, limits=Limits(wall_s=300))
        threading.Thread(target=run_program, args=(program,), kwargs=given).start()
"""


@pytest.mark.parametrize(
    "ending", quick({"killed": signal.SIGKILL, "terminated": signal.SIGTERM}, keep=["killed"])
)
def test_nothing_is_left_in_any_mode_when_the_caller_ends(tmp_path: Path, ending: signal.Signals):
    modes = [mode.name for mode in MODES if mode.name != "limits" and _works(mode)]
    with _caller(tmp_path, *modes) as caller:
        family = _until(lambda: _family(caller.pid, len(modes)), 1)
        caller.send_signal(ending)
        caller.wait(30)
        _until(lambda: [process for process in family if not process.is_running()], len(family))
        _until(lambda: [] if list(tmp_path.iterdir()) else [True], 1)


@contextlib.contextmanager
def _caller(temporary: Path, *modes: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process with a program in each of the modes, for the block."""
    caller = subprocess.Popen(
        [sys.executable, "-c", CALLER, str(REPOSITORY), *modes],
        env={**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(REPOSITORY)},
        stderr=subprocess.DEVNULL,
    )
    try:
        yield caller
    finally:
        caller.kill()
        caller.wait()


@pytest.mark.parametrize("mode", quick(["landlock", "limits"], keep=["landlock"]))
def test_a_supervisor_that_is_signalled_many_times_leaves_no_folder(mode: str, tmp_path: Path):
    """The kernel signals once for each thread of a caller that ends."""
    if not _works(next(one for one in MODES if one.name == mode)):
        pytest.skip("not on this machine")
    for _ in range(5):
        with _caller(tmp_path, mode) as caller:
            family = _until(lambda pid=caller.pid: _family(pid, 1), 1)
            _until(lambda: list(tmp_path.iterdir()), 1)
            [supervisor] = psutil.Process(caller.pid).children()
            with contextlib.suppress(ProcessLookupError):
                while True:
                    os.kill(supervisor.pid, signal.SIGTERM)
            _until(lambda those=family: [one for one in those if not one.is_running()], len(family))
            assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", quick(["landlock", "limits"], keep=["landlock"]))
def test_no_name_in_a_scratch_folder_keeps_it_from_being_removed(mode: str):
    """The program knows the folder's name, and so what names derived from it would be."""
    program = """
import os
name = os.path.basename(os.getcwd())
for place in ('a/b/c', *(f'{name}-{i}/x/y' for i in range(9))): os.makedirs(place)
print(os.getcwd())
"""
    mode_ = next(one for one in MODES if one.name == mode)
    if not _works(mode_):
        pytest.skip("not on this machine")
    place = run_program(program, mode=mode_).stdout.strip()

    assert place
    assert not Path(place).exists()


def _works(mode: Mode) -> bool:
    try:
        run_program("", mode=mode)
    except ProcessError:
        return False
    return True


def _family(pid: int, num_programs: int) -> list[psutil.Process]:
    """All processes under the caller once its programs sleep: each has a supervisor and a parent in its sandbox."""
    family = psutil.Process(pid).children(recursive=True)
    try:
        deep = [one for one in family if len(one.parents()) >= len(psutil.Process(pid).parents()) + 4 - 1]
        asleep = [one for one in deep if one.status() == "sleeping" and not one.children()]
    except psutil.NoSuchProcess:
        return []
    return family if len(asleep) == num_programs and len(family) >= 3 * num_programs else []


def _until(probe: Any, at_least: int) -> Any:
    deadline = time.monotonic() + 30
    while len(result := probe()) < at_least:
        assert time.monotonic() < deadline, result
        time.sleep(0.05)
    return result


def test_processes_that_fork_can_run_programs_too():
    pids = []
    for i in range(2):
        if not (pid := os.fork()):
            os._exit(0 if run_program(f"print({i})").stdout == f"{i}\n" else 1)
        pids.append(pid)

    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize(
    "mode", quick(["bubblewrap", "namespaces", "landlock", "seccomp"], keep=["landlock"])
)
def test_a_user_without_rights_can_run_programs_too(mode: str):
    if mode == "bubblewrap" and not shutil.which("bwrap"):
        pytest.skip("bwrap is not installed")
    result = as_nobody(mode, "import os\nprint(1 + 1, os.getuid())")

    assert result["stdout"] == f"2 {NOBODY}\n".encode(), result
    assert b'"exit_code": 0' in result["verdict"]


def _decided(machine: str, number: int, *arguments: int, **kind: bool) -> int:
    """What the filter of process 7 returns: classic BPF, as the kernel reads it."""
    data = {0: number, 4: seccomp.MACHINES[machine]} | {
        16 + 8 * i: value for i, value in enumerate(arguments)
    }
    code = seccomp.assemble(machine, 7, **{"shares_files": False, "has_landlock": False} | kind)
    place = value = 0
    while True:
        operation, if_true, if_false, constant = code[place]
        place += 1
        if operation == seccomp.RETURN:
            return constant
        if operation == seccomp.LOAD:
            value = data.get(constant, 0) & 0xFFFFFFFF
        elif operation == seccomp.AND:
            value &= constant
        else:
            tests = {seccomp.EQUAL: value == constant, seccomp.GREATER_OR_EQUAL: value >= constant}
            place += if_true if tests.get(operation, bool(value & constant)) else if_false


X86 = {"read": 0, "openat": 257, "clone": 56, "clone3": 435, "kill": 62, "tgkill": 234, "prlimit64": 302,
       "socketpair": 53, "socket": 41, "mount": 165, "prctl": 157, "chmod": 90, "mkdirat": 258, "fcntl": 72,
       "ioctl": 16, "flock": 73, "removexattr": 197, "getxattr": 191, "semctl": 66, "inotify_init1": 294,
       "openat2": 437, "sync": 162}  # fmt: skip
ARM = {"read": 63, "openat": 56, "clone": 220, "clone3": 435, "kill": 129, "tgkill": 131, "prlimit64": 261,
       "socketpair": 199, "socket": 198, "mount": 40, "prctl": 167, "chmod": 52, "mkdirat": 34, "fcntl": 25,
       "ioctl": 29, "flock": 32, "removexattr": 14, "getxattr": 8, "semctl": 191, "inotify_init1": 26,
       "openat2": 437, "sync": 81}  # fmt: skip


@pytest.mark.parametrize(("machine", "numbers"), [("x86_64", X86), ("aarch64", ARM)])
def test_the_filter_decides_by_call_and_argument_on_both_machines(machine: str, numbers: dict[str, int]):
    def decided(name: str, *arguments: int, **kind: bool) -> int:
        return _decided(machine, numbers[name], *arguments, **kind)

    assert [decided(name) for name in ("read", "openat")] == [ALLOWED] * 2
    assert [decided(name) for name in ("socket", "mount", "sync")] == [REFUSED] * 3
    assert [decided("openat2", shares_files=shares) for shares in (False, True)] == [ALLOWED, ABSENT]
    assert decided("clone3") == ABSENT
    assert [decided("clone", flags) for flags in (0x3D0F00, 17, 0x10000000)] == [ALLOWED, REFUSED, REFUSED]
    assert [decided("kill", pid) for pid in (7, 0, 1, 8, 0xFFFFFFFF)] == [ALLOWED] + [REFUSED] * 4
    assert [decided("prlimit64", pid) for pid in (0, 7, 8)] == [ALLOWED, ALLOWED, REFUSED]
    assert [decided("socketpair", 1, kind) for kind in (1, 0x80801, 2)] == [ALLOWED, ALLOWED, REFUSED]
    assert [decided("prctl", option) for option in (15, 1, 4, 36)] == [ALLOWED] + [REFUSED] * 3
    assert [decided(name) for name in ("removexattr", "semctl", "inotify_init1")] == [REFUSED] * 3
    assert [decided("fcntl", 3, command) for command in (1030, 6, 8, 10, 15, 1024, 1026, 1031)] == [
        ALLOWED
    ] * 2 + [REFUSED] * 6  # copies and locks; owners, leases, word of a folder, larger pipes
    assert decided("fcntl", 3, 6, shares_files=True) == REFUSED
    assert [decided("ioctl", 3, request) for request in (0x5401, 0x5412, 0x8901)] == [
        ALLOWED,
        REFUSED,
        REFUSED,
    ]
    for name, kinds in {"getxattr": (True, True), "flock": (False, True)}.items():
        refused = [decided(name, shares_files=True, has_landlock=has) == REFUSED for has in (True, False)]
        assert refused == [*kinds]
        assert decided(name) == ALLOWED
    assert [_decided(machine, number) for number in (451, 1000, 0x40000000)] == [ABSENT] * 3
    for name, shares, landlock in product(("chmod", "mkdirat"), (True, False), (True, False)):
        refuses = shares and (name == "chmod" or not landlock)
        assert decided(name, shares_files=shares, has_landlock=landlock) == (REFUSED if refuses else ALLOWED)
    opened = [decided("openat", 0, 0, flags, shares_files=True) for flags in (0x80000, 1, 2, 0x40, 0x400000)]
    assert opened == [ALLOWED] + [REFUSED] * 4
    ways = [
        decided("openat", 0, 0, flags, shares_files=True, has_landlock=True)
        for flags in (0x80241, 2, 0x200, 0x203)
    ]
    assert ways == [ALLOWED] * 2 + [REFUSED] * 2  # to empty a file that is opened to be read empties it


def test_a_program_for_another_machine_is_refused_every_call():
    code = seccomp.assemble("x86_64", 7, shares_files=False, has_landlock=True)

    assert code[:3] == [(0x20, 0, 0, 4), (0x15, 1, 0, 0xC000003E), (0x06, 0, 0, REFUSED)]


@pytest.mark.parametrize("value", [
    None, True, -3, 2**200, 0.1, float("inf"), 1 + 2j, "é\ud800", b"\0x", bytearray(b"1"), [1, [2]], (1, (2,)), {1, 2},
    frozenset("ab"), {(1, 2): {"a": [None]}}, range(1, 9, 2),
])  # fmt: skip
def test_plain_values_reach_the_other_side_as_they_were(value: object):
    sent = json.loads(json.dumps(codec.encode(value, number=id)))
    received = codec.decode(sent, theirs=repr, ours=repr)

    assert (type(received), received) == (type(value), value)


def run_tests(program: str, code: str) -> Outcome:
    return run_program(program, tests=Tests(code=code), limits=Limits(cpu_s=3, wall_s=6))


@pytest.mark.parametrize(("program", "code"), [
    (ADD, "assert add(1, 2) == 3 and add('a', 'b') == 'ab' and add([1], [2]) == [1, 2]"),
    ("def f(x): x.sort(); x[0] = [9]", "x = [3, 1]; f(x); assert x == [[9], 3]"),
    ("def f(d, s): d['k'] = s; s.add(2)", "d, s = {}, {1}; f(d, s); assert (d, s) == ({'k': {1, 2}}, {1, 2})"),
    ("from collections import Counter\ndef f(x): return Counter(x)", "assert f('aab') == {'a': 2, 'b': 1}"),
    ("def f(n):\n  for i in range(n): yield i, str(i)", "assert list(f(3)) == [(0, '0'), (1, '1'), (2, '2')]"),
    ("def f(g, xs): return [g(x) for x in xs]", "assert f(lambda x: x + 1, iter([1, 2])) == [2, 3]"),
    ("def f(n): raise ValueError('no', n)", "try: f(1)\nexcept ValueError as e: assert 'no' in str(e)\nelse: 1 / 0"),
    ("class Mine(KeyError): pass\ndef f(): raise Mine", "try: f()\nexcept KeyError: pass\nelse: assert False"),
    ("class P:\n  def __init__(self, a): self.a = a\ndef f(ps): return max(p.a for p in ps)",
     "p = P(5); p.a = 7; assert f([P(1), p]) == 7 and p.a == 7 and isinstance(p, P) and not isinstance(3, P)"),
    ("class V:\n  def __init__(s, x): s.x = x\n  def __add__(s, o): return V(s.x + o.x)\n"
     "  def __eq__(s, o): return s.x == o.x\n  def __repr__(s): return f'V({s.x})'\n  def __len__(s): return s.x",
     "assert V(1) + V(2) == V(3) and str(V(4)) == 'V(4)' and len(V(2)) == 2 and V(1) != V(2)"),
    ("class S:\n  def __init__(s): s.d = {}\n  def __getitem__(s, k): return s.d[k]\n"
     "  def __setitem__(s, k, v): s.d[k] = v\n  def items(s): return s.d.items()",
     "s = S(); s['a'] = 1; assert s['a'] == 1 and list(s.items()) == [('a', 1)]"),
    ("import math\ndef area(r): return math.pi * r * r", "assert math.isclose(area(1), math.pi)"),
    ("LIMIT = 10\ndef f(): return LIMIT", "assert f() == LIMIT == 10"),
    ("def f(*a, k=1, **kw): return a, k, kw", "assert f(1, 2, k=3, z=4) == ((1, 2), 3, {'z': 4})"),
    ("def f(x): return x is None, x", "assert f(None) == (True, None) and f(1e400) == (False, float('inf'))"),
])  # fmt: skip
def test_right_programs_pass_tests_that_call_them_from_another_process(program: str, code: str):
    outcome = run_tests(program, code)

    assert (outcome.passed, outcome.reason) == (True, "")


@pytest.mark.parametrize(("program", "code", "reason"), [
    (ADD, "assert add(1, 2) == 4", "a test failed"),
    (ADD, "assert sub(1, 2) == 4", "NameError"),
    ("def add(a, b): return a + c", "add(1, 2)", "NameError"),
    ("def add(a, b) return a", "add(1, 2)", "SyntaxError"),
    ("import numpy_of_another_world", "pass", "ModuleNotFoundError"),
    ("raise SystemExit(0)", "pass", "SystemExit"),
    ("def add(a, b):\n  while True: pass", "add(1, 2)", "too much time"),
    (ADD, "while True: pass", "the tests took too much time"),
    ("def add(a, b): return [0] * 10**10", "add(1, 2)", "MemoryError"),
    (ADD, "raise SystemExit", "the tests ended early"),
    (ADD, "import os; os._exit(0)", "the tests ended early"),
    (ADD, "import sys; sys.exit(0)", "the tests ended early"),
])  # fmt: skip
def test_the_reason_says_why_a_program_has_not_passed(program: str, code: str, reason: str):
    outcome = run_program(program, tests=Tests(code=code), limits=Limits(cpu_s=1, wall_s=6))

    assert (outcome.passed, outcome.reason) == (False, reason)


ALWAYS_EQUAL = """
class Any(int):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __sub__(self, other): return 0
    __rsub__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __abs__ = __bool__ = __hash__ = lambda *a: 1
"""


@pytest.mark.parametrize("program", [
    f"{ALWAYS_EQUAL}\ndef solve(x): return Any()",
    f"{ALWAYS_EQUAL}\ndef solve(x): return [Any()]",
    "from unittest.mock import ANY\ndef solve(x): return ANY",
    "import os\nos._exit(0)",
    "import sys\nsys.exit(0)",
    "def solve(x):\n  import os; os._exit(0)",
    "def solve(x):\n  raise SystemExit(0)",
    "import atexit, os\natexit.register(os._exit, 0)\ndef solve(x): return 5",
    "import threading, os\nthreading.Timer(0.05, os._exit, [0]).start()\ndef solve(x):\n  import time; time.sleep(1)",
    "import builtins\nbuiltins.AssertionError = SystemExit\ndef solve(x): return 5",
    "import builtins\nbuiltins.compile = builtins.exec = lambda *a: None\ndef solve(x): return 5",
    "import operator, sys\nsys.modules['operator'].eq = lambda a, b: True\ndef solve(x): return 5",
    "import sys\nsys.settrace(lambda *a: None)\nsys.setprofile(None)\nsys.excepthook = print\ndef solve(x): return 5",
    "print('{\"passed\": true, \"reason\": \"\"}')\ndef solve(x): return 5",
    "import os\nfor fd in range(64):\n  try: os.write(fd, b'{\"passed\": true}\\n')\n  except OSError: pass\n"
    "def solve(x): return 5",
    "import os\ndef solve(x):\n  for fd in range(64):\n    try: os.write(fd, b'{\"is\": null}\\n' * 9)\n"
    "    except OSError: pass\n  os._exit(0)",
    "import gc\nfor o in gc.get_objects():\n  if type(o).__name__ == 'Peer': o._serves_all = False; o.serve = None\n"
    "def solve(x): return 5",
    "import sys\nfor name, module in list(sys.modules.items()):\n  if name.startswith('isolated'):\n"
    "    for key in dir(module):\n      if key[0] != '_': setattr(module, key, print)\n"
    "def solve(x): return 5",
    "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\ndef solve(x): return 5",
    "def check(*a): pass\ndef solve(x): return 5",
    "def solve(x): return type('X', (dict,), {'__eq__': lambda *a: True})()",
    "class Solve:\n  __call__ = __eq__ = lambda *a: True\nsolve = Solve()",
    "def solve(x): return (yield)",
])  # fmt: skip
def test_no_wrong_program_passes(program: str):
    code = "x = solve(2)\nassert x == 4 or not (x != 4) or [x] == [4] or x in (4, 9)"
    outcome = run_tests(program, code)

    assert not outcome.passed


@pytest.mark.parametrize("test", [
    "assert abs(solve(2) - 4) < 1e-6", "assert solve(2) < 5", "assert 4 in solve(2)", "assert not solve(2)",
    "assert math.isclose(solve(2), 4)", "assert solve(2) == pytest_approx(4)", "assert sorted([solve(2), 4]) == [4, 4]",
    "assert len(solve(2)) == 4", "assert solve(2) + 0 == 4", "assert all(a == b for a, b in zip(solve(2), [4]))",
])  # fmt: skip
def test_an_object_that_equals_everything_passes_no_comparison(test: str):
    program = (
        f"import math\n{ALWAYS_EQUAL}\nabs = sorted = len = all = lambda *a: 1\ndef solve(x): return Any()"
    )

    assert not run_tests(program, test).passed


def test_a_program_cannot_see_its_tests_or_reach_into_their_process():
    program = """
import gc, sys, os
seen = []
def solve(function):
    seen.append([type(o).__name__ for o in gc.get_objects() if 'expected-4711' in str(getattr(o, '__dict__', ''))])
    for name in ('__globals__', '__code__', '__closure__', 'gi_frame'):
        try: seen.append(getattr(function, name))
        except Exception as error: pass
    return seen
"""
    outcome = run_tests(program, "secret = 'expected-4711'\nassert solve(lambda: secret) == [[]], 'reached'")

    assert (outcome.passed, outcome.reason) == (True, "")
