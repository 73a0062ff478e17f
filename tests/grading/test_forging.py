"""What a program's process says is not believed: no wrong program passes, and right ones do whatever they define."""

from typing import Any

import pytest
from forgers import FORGERS, FORGIVING, IN_EVERY_MODE, PIPES, SQUARE
from forked import outcomes
from quick import quick

from omniopd.errors import ProcessError
from omniopd.grading.code.sandbox import (
    MODES,
    Limits,
    Mode,
    Outcome,
    Tests,
    mode_of_this_machine,
    run,
    run_program,
)

LIMITS = Limits(cpu_s=3, wall_s=6.0)


def outcome_of(program: str, tests: Tests, mode: Mode | None = None) -> Outcome:
    return run_program(program, tests=tests, mode=mode, limits=LIMITS)


@pytest.fixture(scope="module")
def forged() -> dict[str, Outcome]:
    return dict(zip(FORGERS, outcomes([*FORGERS.values()], LIMITS), strict=True))


@pytest.mark.parametrize("name", FORGERS)
def test_no_program_forges_its_verdict(forged: dict[str, Outcome], name: str):
    outcome = forged[name]

    assert outcome.passed is False
    assert outcome.reason
    assert outcome.limit == ""


@pytest.mark.parametrize("name", IN_EVERY_MODE)
@pytest.mark.parametrize(
    "mode", quick({mode.name: mode for mode in MODES}, keep={mode_of_this_machine().name})
)
def test_no_mode_lets_a_verdict_be_forged(forged: dict[str, Outcome], mode: Mode, name: str):
    try:
        outcome = outcome_of(*FORGERS[name], mode)
    except ProcessError as error:
        pytest.skip(f"not on this machine: {error}")

    assert outcome.passed is False
    assert outcome.reason
    if mode == mode_of_this_machine():
        assert outcome.reason == forged[name].reason, "forks judge as sandboxes do"


def test_what_keeps_to_the_protocol_is_judged_by_its_answers():
    right, wrong = (f"{PIPES}\nserve({{'is': {number}, 'now': None}})" for number in (4, 5))

    assert [outcome_of(program, SQUARE).passed for program in (right, wrong)] == [True, False]
    assert outcome_of(wrong, FORGIVING).passed


RAISES = "class Mine(ValueError): pass\ndef f(x): raise Mine('must be positive')"


RIGHT = [
    (RAISES, "try: f(-1)\nexcept ValueError as error: assert str(error) == 'must be positive'\nelse: assert False"),
    (RAISES, "try: f(-1)\nexcept Exception as error: assert str(error) == 'must be positive'\nelse: assert False"),
    (RAISES, "try: f(-1)\nexcept: pass\nelse: assert False"),
    (RAISES, "import contextlib\nwith contextlib.suppress(ValueError):\n    f(-1)\n    assert False"),
    (RAISES, "import unittest\nclass Case(unittest.TestCase):\n    def runTest(self):\n"
     "        with self.assertRaises(ValueError): f(-1)\nassert Case().run().wasSuccessful()"),
    ("def f(d): return d['k']",
     "try: f({})\nexcept LookupError as error: assert type(error) is KeyError\nelse: assert False"),
    ("def f(x): return b'\\xff'.decode()", "try: f(1)\nexcept UnicodeError: pass\nelse: assert False"),
    ("class C: pass\ndef f(): return C()", "assert not hasattr(f(), 'x') and getattr(f(), 'x', 4) == 4"),
    ("def f(n):\n    yield from range(n)",
     "assert list(f(3)) == [0, 1, 2] and [*zip(f(2), 'ab')] == [(0, 'a'), (1, 'b')]"),
    ("def f(g):\n    try: return g()\n    except ZeroDivisionError: return 'caught'",
     "assert f(lambda: 1 / 0) == 'caught'"),
    ("loop = []\nloop.append(loop)\ndef f(x): return x", "assert f(2) == 2"),
    ("LIMIT, TABLE = 10, {1: (2, 3)}\ndef f(): return LIMIT", "assert f() == LIMIT == 10 and TABLE[1] == (2, 3)"),
    ("def f(n): return 0 if n == 0 else g(n - 1)\ndef g(n): return f(n)", "assert f(50) == 0 and g(3) == 0"),
    ("class A:\n    _number = _peer = 3\ndef f(): return A()", "assert f()._number == 3 and f()._peer == 3"),
    ("def f(d, x, *, more): d.append(x); more.append(x); d, more", "d, m = [], []; f(d, 1, more=m); assert d == [1]"),
]  # fmt: skip


@pytest.fixture(scope="module")
def judged() -> list[Outcome]:
    return outcomes([(program, Tests(code=code)) for program, code in RIGHT], LIMITS)


@pytest.mark.parametrize("number", range(len(RIGHT)), ids=[f"{program}-{code}" for program, code in RIGHT])
def test_right_programs_pass_that_raise_what_the_tests_expect(judged: list[Outcome], number: int):
    assert (judged[number].passed, judged[number].reason) == (True, "")


@pytest.mark.parametrize(("calls", "program"), [
    (({"arguments": [2], "expected": [{"1": [4]}], "tuples": "all"},), "def f(x): return {1: (4,)}"),
    (({"arguments": [[3, 1]], "expected": [[1, 3]], "tuples": "all"},),
     "class Solution:\n    def f(self, x): return sorted(x)"),
])  # fmt: skip
def test_what_a_function_returns_is_compared_as_json(calls: tuple[dict[str, object], ...], program: str):
    assert outcome_of(program, Tests(function="f", calls=calls)).passed


@pytest.mark.parametrize("program", ["x = '\ud800'", "x = '\0'", "raise ValueError('\ud800')", "(" * 10**5])
def test_what_python_cannot_read_is_the_failure_of_that_program(program: str):
    outcome = outcome_of(program, FORGIVING)
    alone = run_program(program, limits=LIMITS)

    assert (outcome.passed, outcome.reason.isidentifier()) == (False, True)
    assert (alone.exit_code, alone.reason) == (1, "")


def test_a_sandbox_that_fails_is_the_failure_of_one_program(monkeypatch: pytest.MonkeyPatch):
    """As if a program had ended its supervisor."""
    real = run._supervised

    def supervised(command: list[str], job: dict[str, Any]) -> dict[str, Any]:
        if "hostile" in job["program"]:
            raise ProcessError("the supervisor of a program ended with -9")
        return real(command, job)

    monkeypatch.setattr(run, "_supervised", supervised)
    tested, alone = outcome_of("hostile", FORGIVING), run_program("hostile")

    assert (tested.passed, tested.reason) == (False, "the sandbox failed")
    assert (alone.passed, alone.reason, alone.exit_code) == (None, "the sandbox failed", None)
    assert "-9" in alone.stderr
    assert run_program("print(1)").stdout == "1\n"


@pytest.mark.parametrize(("verdict", "passed"), [
    (b'{}\n{"passed": true, "reason": ""}\n', True),
    (b'{}\n{"passed": true, "reason": ""}', False),
    (b'{}\n{"passed": 1, "reason": ""}\n', False),
    (b'{}\n{"reason": ""}\n', False),
    (b'{}\n{"passed": true}\n{"passed": false}\n', False),
    (b'{}\n[]\n\xff\n{"passed": "x"\n' + b"[" * 10**5 + b"\n", False),
])  # fmt: skip
def test_only_one_verdict_that_says_so_is_a_pass(verdict: bytes, passed: bool):
    result = run._read({"stdout": b"\xff", "stderr": b"", "verdict": verdict, "limit": "", "wall_s": 0.1})
    outcome = run._outcome(result, run.job_of("limits", "", tests=SQUARE))

    assert outcome.passed is passed
    assert bool(outcome.reason) is not passed
