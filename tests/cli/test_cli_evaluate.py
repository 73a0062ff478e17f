"""`omniopd evaluate`: models and runs on benchmarks as a user measures them, and mistakes in how that is asked."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from benchmark_files import write_capitals
from projects import REPOSITORY, Project, make_project, run_plain
from text_models import save_text_model

from omniopd.data.records import ItemResult
from omniopd.data.store import read_records

Evaluate = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def evaluate(warm: Path) -> Evaluate:
    """`omniopd evaluate` in a project's folder, with those arguments."""

    def evaluated(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(warm / "omniopd"), "evaluate", *arguments],
            cwd=project.root, env={**os.environ, "COLUMNS": "100"}, capture_output=True, text=True, check=False,
            timeout=580,
        )  # fmt: skip

    return evaluated


@pytest.fixture
def tiny(tmp_path: Path) -> Project:
    """A project with settings and a model that writes printable characters."""
    project = make_project(tmp_path / "project")
    save_text_model(project.root / "tiny")
    return project


def write_sums(path: Path, *, without_answer: int = 0) -> None:
    rows = [
        {"question": f"{i}+10=", "answer": "none" if i < without_answer else f"#### {i + 10}"}
        for i in range(6)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_tiny_model_is_measured_on_gsm8k_and_humaneval_from_their_files(
    evaluate: Evaluate, tiny: Project, shared_data: Path
):
    done = evaluate(
        tiny, "--model", "./tiny", "--suite", "gsm8k,humaneval", "--num-items", "30", "--max-new-tokens", "40",
        "--file", f"gsm8k={shared_data / 'gsm8k' / 'test.jsonl'}",
        "--file", f"humaneval={shared_data / 'humaneval' / 'HumanEval.jsonl.gz'}",
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    for name, num_items in (("gsm8k", 1319), ("humaneval", 164)):
        assert f"warning: {name}: the first 30 of {num_items:,} items by hash" in done.stderr
        [row] = [line for line in done.stdout.splitlines() if line.split()[:1] == [name]]
        assert row.split()[1:3] == ["./tiny", "0.000"]
        folder = tiny.root / "metrics" / "benchmarks" / "tiny"
        record = json.loads((folder / f"{name}.json").read_text())
        results = read_records(folder / f"{name}.parquet", ItemResult)
        assert record["num_items"] == len(results) == 30
        assert record["interval"][1] > 0.05
        assert all(len(item.prompt) > 50 and item.num_tokens <= 40 for item in results)
        assert record["cut_share"] == pytest.approx(sum(r.finish_reason == "length" for r in results) / 30)
    assert sum("rows, and" in line for line in done.stderr.splitlines()) == 0


def test_json_is_the_figures_alone(evaluate: Evaluate, tiny: Project):
    write_sums(tiny.root / "sums.jsonl")

    done = evaluate(
        tiny, "--model", "tiny", "--suite", "gsm8k", "--file", "gsm8k=sums.jsonl", "--num-samples", "3",
        "--temperature", "1.0", "--max-new-tokens", "5", "--json",
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)["gsm8k"]
    assert (record["num_items"], record["num_samples"]) == (6, 3)
    given = {"temperature": 1.0, "num_samples": 3, "max_new_tokens": 5}
    assert record["sampling"] == given | {"top_p": 1.0, "top_k": None, "min_p": 0.0, "stop": []}
    assert set(record["pass_at"]) == {"1", "2", "3"}


def test_rows_that_cannot_be_measured_are_counted_and_named(evaluate: Evaluate, tiny: Project):
    write_sums(tiny.root / "sums.jsonl", without_answer=2)

    done = evaluate(
        tiny, "--model", "tiny", "--suite", "gsm8k", "--file", "gsm8k=sums.jsonl", "--max-new-tokens", "2",
        "--json",
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "2 rows cannot be measured and are left out" in done.stderr
    record = json.loads(done.stdout)["gsm8k"]
    assert record["num_items"] == 4
    assert record["items"]["without_answer"]["count"] == 2


def test_a_run_is_measured_before_and_after_with_what_params_or_the_command_name(
    evaluate: Evaluate, project: Project
):
    write_sums(project.root / "sums.jsonl")
    project.edit(train__num_rounds=1, train__checkpoint_every=1, train__validate_every=1)
    run_plain(project.params_file)
    project.edit(
        benchmarks__suite=["gsm8k"], benchmarks__files={"gsm8k": "sums.jsonl"}, benchmarks__num_items=5
    )

    done = evaluate(project, "--arm", "omniopd", "--max-new-tokens", "3")

    assert done.returncode == 0, done.stderr
    record = json.loads((project.root / "metrics" / "evaluation" / "omniopd-0.json").read_text())
    folder = project.root / "metrics" / "benchmarks" / "omniopd-0"
    for when in ("before", "after"):
        result = record[when]["benchmarks"]["gsm8k"]
        assert (result["num_items"], result["sampling"]["max_new_tokens"]) == (5, 3)
        assert json.loads((folder / when / "gsm8k.json").read_text()) == result
        assert ["gsm8k", when] in [line.split()[:2] for line in done.stdout.splitlines()]
    before, after = (record[when]["benchmarks"]["gsm8k"]["weights"] for when in ("before", "after"))
    assert before != after

    assert evaluate(project, "--arm", "omniopd", "--suite", "").returncode == 0
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["suite.json"]


def test_the_benchmark_of_the_page_is_measured_word_for_word(evaluate: Evaluate, tiny: Project):
    page = (REPOSITORY / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    (settings, items, command) = (
        re.search(rf"^```{kind}\n(.*?)^```$", page, re.M | re.S)[1] for kind in ("yaml", "json", "bash")
    )
    (tiny.root / settings.partition("\n")[0].removeprefix("# ")).write_text(settings)
    (tiny.root / "capitals.jsonl").write_text(items)
    name, _, *options = command.replace("models/student", "tiny").replace(",gsm8k", "").split()

    done = evaluate(tiny, *options)

    assert name == "omniopd"
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    [row] = [line for line in done.stdout.splitlines() if line.split()[:1] == ["capitals"]]
    assert "2 × 4" in row
    results = read_records(tiny.root / "metrics" / "benchmarks" / "tiny" / "capitals.parquet", ItemResult)
    assert [item.prompt for item in results[::4]] == [
        "What is the capital of France?", "What is the capital of Norway?"
    ]  # fmt: skip


def test_a_suite_in_params_has_settings_for_one_benchmark_that_an_option_overrides(
    evaluate: Evaluate, tiny: Project
):
    write_capitals(tiny.root, "bench/capitals.yaml")
    tiny.edit(benchmarks__suite=[{"name": "./bench/capitals.yaml", "num_samples": 3, "max_new_tokens": 4}])

    of_params = evaluate(tiny, "--model", "tiny", "--json")
    of_option = evaluate(
        tiny, "--model", "tiny", "--json", "--suite", "bench/capitals.yaml", "--num-samples", "4"
    )

    for done, num_samples in ((of_params, 3), (of_option, 4)):
        assert done.returncode == 0, done.stderr
        sampling = json.loads(done.stdout)["capitals"]["sampling"]
        assert (sampling["num_samples"], sampling["max_new_tokens"]) == (num_samples, 4)
        assert (sampling["temperature"], sampling["stop"]) == (0.5, ["\n"])


MISTAKES = {
    "no arm of several": ([], "params.yaml: has several arms; choose one with --arm: omniopd, omniopd-baseline"),
    "both": (["--arm", "omniopd", "--model", "tiny"], "give either --arm"),
    "no suite": (["--model", "tiny"], "--model: on which benchmarks? name some: --suite gsm8k,math500"),
    "a benchmark misspelt": (
        ["--model", "tiny", "--suite", "gsm8"], "gsm8: no such benchmark; did you mean 'gsm8k'?"
    ),
    "a file of a benchmark with mistakes": (
        ["--model", "tiny", "--suite", "gsm8k,wrong.yaml"], "wrong.yaml: grader: 'maths' is not a grader; write math"
    ),
    "a file of a benchmark that is not there": (
        ["--model", "tiny", "--suite", "none.yaml"], "none.yaml: no such file; fix the path in the suite"
    ),
    "a file without a name": (
        ["--model", "tiny", "--suite", "gsm8k", "--file", "x.jsonl"],
        "--file x.jsonl: write the benchmark's name before the path, as gsm8k=test.jsonl",
    ),
    "a file of what is not measured": (
        ["--model", "tiny", "--suite", "gsm8k", "--file", "humaneval=x.jsonl"],
        "--file humaneval: is not measured; name it in --suite too",
    ),
    "a file that is not there": (
        ["--model", "tiny", "--suite", "gsm8k", "--file", "gsm8k=x.jsonl"],
        "x.jsonl: no such file of items; fix --file gsm8k=PATH, or leave it out to take them from the hub",
    ),
    "a model that is not there": (
        ["--model", "./none", "--suite", "gsm8k"],
        "none: no such model directory; name a directory, or a hub name (owner/name)",
    ),
    "several greedy samples": (
        ["--model", "tiny", "--suite", "gsm8k", "--file", "gsm8k=sums.jsonl", "--num-samples", "4"],
        "at temperature 0 all 4 responses to an item are the same; set num_samples to 1, or temperature above 0",
    ),
    "an arm that is not there": (["--arm", "nope"], "params.yaml: arms.nope: no such arm; known are omniopd"),
    "a benchmark twice": (
        ["--model", "tiny", "--suite", "gsm8k,gsm8k"], "--suite: suite: gsm8k is listed twice; delete one of the two"
    ),
    "the hub out of reach": (["--model", "tiny", "--suite", "aime24"], "--file aime24=PATH"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_a_sentence_and_writes_no_figures(
    evaluate: Evaluate, tiny: Project, arguments: list[str], message: str
):
    write_sums(tiny.root / "sums.jsonl")
    write_capitals(tiny.root, "wrong.yaml", grader="maths")

    done = evaluate(tiny, *arguments)

    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tiny.root / "metrics").exists()
