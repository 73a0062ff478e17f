"""One way of grading for rewards, accuracy and benchmarks, chosen by name."""

import pkgutil
from types import SimpleNamespace
from typing import Any

import pytest

from omniopd.config import Evaluation
from omniopd.data.prompts import Prompt
from omniopd.data.records import Reward, Trajectory
from omniopd.data.store import write_records
from omniopd.errors import ConfigError, DataError, ProcessError
from omniopd.grading import Case, Grade, Grader, failure_counts, grade, grader_of, rewards
from omniopd.grading.graders import answer_of
from omniopd.rounds.ledger import failures_of_round


def named(grader: str) -> Grader:
    return grader_of(Evaluation(grader=grader, answer_pattern=r">(.*)$"))


PATTERN = named("pattern")


def _trajectory(id_: str, prompt_id: str, response: str, finish_reason: str = "stop") -> Trajectory:
    return Trajectory(
        id=id_, round=0, prompt_id=prompt_id, prompt="40+2=", prompt_ids=[], response=response, response_ids=[],
        finish_reason=finish_reason, temperature=1.0, seed=0, student="w", entropies=[], logps=[],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("response", "finished", "expected"),
    [
        ("3;>42", True, Grade(True, "42")),
        ("3;>43", True, Grade(False, "43", "another answer")),
        ("3;>042", True, Grade(False, "042", "another answer")),
        ("3;>42", False, Grade(False, "42", "cut at the limit")),
        ("3;", True, Grade(False, None, "no answer")),
    ],
)
def test_a_pattern_is_right_to_the_character_in_a_response_that_has_ended(
    response: str, finished: bool, expected: Grade
):
    case = Case(Prompt("p", "40+2=", "42"), response, finished=finished)

    assert grade([case], PATTERN) == [expected]


def test_rewards_are_in_the_order_of_the_responses_each_graded_by_its_prompt():
    prompts = [Prompt("a", "40+2=", "42"), Prompt("b", "1+1=", "2")]
    trajectories = [
        _trajectory("t0", "b", ";>2"), _trajectory("t1", "a", ";>2"), _trajectory("t2", "a", ";>42"),
        _trajectory("t3", "b", ";>2", "length"), _trajectory("t4", "b", "?"),
    ]  # fmt: skip

    assert rewards(trajectories, prompts, PATTERN) == [
        Reward("t0", "2", 1.0), Reward("t1", "2", 0.0), Reward("t2", "42", 1.0), Reward("t3", "2", 0.0),
        Reward("t4", None, 0.0),
    ]  # fmt: skip


def test_failures_of_the_grader_are_counted_among_a_rounds_metrics(tmp_path, monkeypatch):
    trajectories = [
        _trajectory("t0", "a", ";>42"),
        _trajectory("t1", "a", "bad"),
        _trajectory("t2", "a", "bad"),
    ]

    def failing(text: str, pattern: str):
        if text == "bad":
            raise MemoryError
        return answer_of(text, pattern)

    monkeypatch.setattr("omniopd.grading.graders.answer_of", failing)
    graded = rewards(trajectories, [Prompt("a", "40+2=", "42")], PATTERN)
    files = SimpleNamespace(
        trajectories=lambda _: tmp_path / "trajectories", rewards=lambda _: tmp_path / "rewards",
        verdicts=lambda _: tmp_path / "verdicts",
    )  # fmt: skip
    write_records(files.trajectories(0), trajectories, Trajectory)
    write_records(files.rewards(0), graded, Reward)
    run = SimpleNamespace(files=files, config=SimpleNamespace(method=SimpleNamespace(needs=("rewards",))))

    assert [item.failure for item in graded] == ["", "MemoryError", "MemoryError"]
    assert failures_of_round(run, 0) == {
        "teacher_failures": 0.0, "grader_failures": 2.0, "grader_failures/MemoryError": 2.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("grader", "prompt", "what"),
    [
        ("pattern", Prompt("p", "40+2=", tests="assert f() == 42"), "answer"),
        ("math", Prompt("p", "40+2="), "answer"),
        ("code", Prompt("p", "40+2=", "42"), "tests"),
    ],
)
def test_a_prompt_without_what_the_grader_needs_is_named(grader, prompt: Prompt, what: str):
    with pytest.raises(DataError, match=f"prompt 'p' has no {what} to measure with; give it {what}"):
        grade([Case(prompt, ">42", finished=True)], named(grader))


def test_no_responses_have_no_grades():
    assert [grade([], named(grader)) for grader in ("math", "code", "pattern")] == [[], [], []]


TESTED = Prompt("p", "def one():\n    pass\n", tests="assert one() == 1")


@pytest.mark.parametrize(
    ("grader", "prompt", "responses"),
    [
        ("pattern", Prompt("p", "40+2=", "42"), [(">42", True, ""), (">42", False, "cut at the limit")]),
        (
            "math", Prompt("p", "40+2=", "42"),
            [
                ("\\boxed{42.0}", True, ""), ("\\boxed{42.0}", False, "cut at the limit"),
                ("\\boxed{41}", True, "another answer"), ("nothing", True, "no answer"),
            ],
        ),
        (
            "code", TESTED,
            [
                ("```python\ndef one(): return 1\n```", True, ""), ("words alone", True, "no program"),
                ("```python\ndef one(): return 1\n```", False, "cut at the limit"),
                ("```python\ndef one(): return 2\n```", True, "a test failed"),
            ],
        ),
    ],
    ids=["pattern", "math", "code"],
)  # fmt: skip
def test_each_grader_gives_a_reason_and_a_cut_response_is_wrong(grader, prompt, responses):
    cases = [Case(prompt, text, finished=finished) for text, finished, _ in responses]

    grades = grade(cases, named(grader))

    assert [one.reason for one in grades] == [reason for _, _, reason in responses]
    assert [one.is_right for one in grades] == [not reason for _, _, reason in responses]


@pytest.mark.parametrize("error", [ZeroDivisionError, RecursionError, MemoryError, UnicodeError])
@pytest.mark.parametrize(
    ("grader", "fails", "response"),
    [
        ("pattern", "omniopd.grading.graders.answer_of", "%s>42"),
        ("math", "omniopd.grading.math.grader.final_answer", "%s\\boxed{42}"),
        ("code", "omniopd.grading.code.grader.program_of", "def one(): return 1  # %s"),
    ],
)
def test_a_response_on_which_the_grader_fails_is_wrong_and_the_others_are_graded(
    grader, fails: str, response: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):  # fmt: skip
    prompts = [Prompt(f"p{i}", "40+2=", "42", tests="assert one() == 1") for i in range(5)]
    cases = [
        Case(prompt, response % ("bad" if i == 3 else ""), finished=True) for i, prompt in enumerate(prompts)
    ]
    function = pkgutil.resolve_name(fails)

    def failing(text: str, *given):
        if "bad" in text:
            raise error
        return function(text, *given)

    monkeypatch.setattr(fails, failing)
    grades = grade(cases, named(grader))

    assert [one.is_right for one in grades] == [True, True, True, False, True]
    assert grades[3].reason == f"grader error: {error.__name__}"
    assert failure_counts(item.reason for item in grades) == {"grader_failures": {error.__name__: 1}}
    assert "1 of 5" in caplog.text
    assert "'p3'" in caplog.text


def test_a_sandbox_that_breaks_is_an_error_and_not_a_wrong_response(monkeypatch: pytest.MonkeyPatch):
    def broken(*_, **__):
        raise ProcessError("no room for a program")

    monkeypatch.setattr("omniopd.grading.code.grader.run_program", broken)
    with pytest.raises(ProcessError, match="no room"):
        grade([Case(TESTED, "def one(): return 1", finished=True)], named("code"))


def test_without_a_temporary_directory_no_response_is_graded_as_wrong(monkeypatch: pytest.MonkeyPatch):
    def no_directory():
        raise FileNotFoundError("no directory is writable")

    monkeypatch.setattr("tempfile.gettempdir", no_directory)
    with pytest.raises(ProcessError, match="no directory is writable"):
        grade([Case(TESTED, "def one(): return 1", finished=True)], named("code"))


def test_a_program_that_alone_cannot_be_run_is_wrong(monkeypatch: pytest.MonkeyPatch):
    run_in = pkgutil.resolve_name("omniopd.grading.code.sandbox.run_in")

    def broken(mode: str, program: str, **given: Any):
        if "one" in program:
            raise ProcessError("no room for this program")
        return run_in(mode, program, **given)

    monkeypatch.setattr("omniopd.grading.code.sandbox.run_in", broken)
    (only,) = grade([Case(TESTED, "def one(): return 1", finished=True)], named("code"))
    assert (only.is_right, only.reason) == (False, "grader error: the sandbox failed")


CUSTOM_GRADER = """
from omniopd.grading import Grade

class Contains:
    needs = "answer"

    def grade(self, cases):
        return [Grade(case.prompt.answer in case.response, case.response) for case in cases]
"""


def test_a_custom_grader_is_one_class_and_its_name(tmp_path, monkeypatch: pytest.MonkeyPatch):
    """One file; what was cut at the limit is wrong whatever it says."""
    (tmp_path / "my_graders.py").write_text(CUSTOM_GRADER)
    monkeypatch.syspath_prepend(tmp_path)
    grader = grader_of(Evaluation(grader="my_graders:Contains"))
    cases = [
        Case(Prompt("p", "40+2=", "42"), text, finished=end)
        for text, end in (("42!", True), ("7", True), ("42!", False))
    ]

    grades = grade(cases, grader)

    assert [(one.is_right, one.reason) for one in grades] == [
        (True, ""), (False, ""), (False, "cut at the limit")
    ]  # fmt: skip
    with pytest.raises(ConfigError, match=r"Contains gave 2 grades for 1 responses; give one for each"):
        grade(cases[:1], type("Contains", (), {"needs": "answer", "grade": lambda *_: [grades[0]] * 2})())
    with pytest.raises(ConfigError, match=r"evaluation.grader: pathlib:Path does not say what it needs"):
        grader_of(Evaluation(grader="pathlib:Path"))
    with pytest.raises(ConfigError, match=r"evaluation.grader: 'my_graders:Contain' cannot be imported"):
        grader_of(Evaluation(grader="my_graders:Contain"))
    with pytest.raises(
        ValueError, match="'maths' is not a grader; write math, code, pattern, or package.module:Class"
    ):
        Evaluation(grader="maths")
