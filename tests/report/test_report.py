"""report: the contents of the pages of a run and of a comparison, from the files of a tiny run."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import stories
from projects import Project, run_plain

from omniopd.data.layout import Layout
from omniopd.data.records import ItemResult, Trajectory, Verdict
from omniopd.data.store import read_json, read_records
from omniopd.errors import DataError
from omniopd.evaluation.evaluate import _totals, evaluate
from omniopd.methods import OmniOPD
from omniopd.report.gather import find_run, story_of, write_comparison, write_report
from omniopd.rounds.ledger import tidy
from omniopd.rounds.run import open_run


@pytest.fixture(scope="module")
def done(base_project: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose arm omniopd has run; not to be written to."""
    project = base_project.copied_to(tmp_path_factory.mktemp("report") / "project")
    run_plain(project.edit(train__num_rounds=3).params_file)
    return project


def payload(path: Path, name: str) -> Any:
    return stories.payload(path.read_text(encoding="utf-8"), name)


def test_a_run_ends_with_its_report_in_the_projects_folder(done: Project):
    page = done.root / "reports" / "omniopd-0.html"

    assert "3 of 3" in page.read_text(encoding="utf-8")
    assert write_report(done.run_dir()) == page


def test_every_trajectory_and_verdict_of_the_run_is_in_the_page(done: Project, tmp_path: Path):
    page = write_report(done.run_dir(), tmp_path / "page.html")

    content = payload(page, "trajectories")
    files = open_run(done.run_dir()).files
    trajectories = [record for r in range(3) for record in read_records(files.trajectories(r), Trajectory)]
    verdicts = {record.id: record for r in range(3) for record in read_records(files.verdicts(r), Verdict)}
    assert [row["id"] for row in content["rows"]] == [record.id for record in trajectories]
    method = open_run(done.run_dir()).config.method
    assert isinstance(method, OmniOPD)
    assert sum(len(row["audits"]) for row in content["rows"]) == len(verdicts) > 0
    for row, trajectory in zip(content["rows"], trajectories, strict=True):
        assert "".join(content["tokens"][place] for place in row["tokens"]) == trajectory.response
        for audit in row["audits"]:
            verdict = verdicts[f"{trajectory.id}/{audit['at']}"]
            assert audit["replies"] == verdict.replies
            assert audit["value"] == pytest.approx(method.target(verdict), abs=1e-4)


def test_accuracy_is_drawn_where_it_was_measured_the_end_of_the_run_included(done: Project, tmp_path: Path):
    over_rounds, *_ = payload(write_report(done.run_dir(), tmp_path / "page.html"), "charts")

    assert over_rounds["x"] == [0, 2, 3]


def test_a_folder_that_was_taken_elsewhere_is_shown_without_tokens(done: Project, tmp_path: Path):
    moved = tmp_path / "runs" / "omniopd-0"
    shutil.copytree(done.run_dir(), moved)

    page = write_report(moved, tmp_path / "page.html")

    assert "tokenizer could not be loaded" in page.read_text(encoding="utf-8")
    rows = payload(page, "trajectories")["rows"]
    assert all("tokens" not in row for row in rows)
    assert [row["response"] for row in rows[:4]] == [
        trajectory.response
        for trajectory in read_records(open_run(moved).files.trajectories(0), Trajectory)[:4]
    ]


def test_half_a_line_of_timings_is_skipped(done: Project, tmp_path: Path):
    moved = tmp_path / "runs" / "omniopd-0"
    shutil.copytree(done.run_dir(), moved)
    (moved / "timings.jsonl").write_text('{"stage": "train", "round": 0, "seconds": 2.5}\n{"stage": "tr')

    assert story_of(open_run(moved)).seconds == {"train": 2.5}
    assert _totals(open_run(moved))["seconds"] == {"train": 2.5}


def test_a_damaged_metrics_file_is_no_obstacle_and_is_written_again(done: Project, tmp_path: Path):
    moved = tmp_path / "runs" / "omniopd-0"
    shutil.copytree(done.run_dir(), moved)
    whole, totals = (moved / "metrics.jsonl").read_bytes(), _totals(open_run(moved))
    (moved / "metrics.jsonl").write_bytes(whole[:-20] + b"\xff")

    assert _totals(open_run(moved)) == totals
    tidy(moved)
    assert (moved / "metrics.jsonl").read_bytes() == whole


def test_a_run_is_found_by_its_name_its_path_or_its_arm_and_seed(done: Project):
    layout = Layout(done.root)

    for name in ("omniopd-0", str(done.run_dir()), "omniopd"):
        assert find_run(name, layout, seed=0).samefile(done.run_dir())


def test_a_missing_run_is_named_with_the_existing_ones(done: Project):
    with pytest.raises(DataError, match=r"^sft: no such run in .*; it holds omniopd-0; give one of them"):
        find_run("sft", Layout(done.root), seed=0)


# --- a comparison


@pytest.fixture(scope="module")
def evaluated(done: Project) -> Project:
    """The same project, with its run measured."""
    evaluate("omniopd", 0, Layout(done.root))
    return done


def test_the_answers_of_an_evaluation_are_kept_and_give_its_accuracies(evaluated: Project):
    layout = Layout(evaluated.root)
    record = read_json(layout.evaluation("omniopd", 0))

    for when in ("before", "after"):
        for how in ("greedy", "sampled"):
            results = read_records(layout.answers("omniopd-0", when, how), ItemResult)
            assert [result.id for result in results] == [
                result.id for result in open_run(evaluated.run_dir()).prompts("heldout")
            ]
            assert sum(result.is_right for result in results) / len(results) == record[when][how]["accuracy"]


def test_a_comparison_holds_every_held_out_prompt_before_and_after(evaluated: Project, tmp_path: Path):
    page = write_comparison([evaluated.run_dir()], out=tmp_path / "comparison.html")

    content = payload(page, "answers")
    assert len(content["prompts"]) == 12
    after = read_records(Layout(evaluated.root).answers("omniopd-0", "after", "greedy"), ItemResult)
    assert [item["answers"][-1]["response"] for item in content["prompts"]] == [
        item.response for item in after
    ]


def test_a_run_that_is_not_evaluated_or_kept_no_answers_is_named_with_the_remedy(
    evaluated: Project, tmp_path: Path
):
    moved = tmp_path / "runs" / "omniopd-0"
    shutil.copytree(evaluated.run_dir(), moved)
    with pytest.raises(DataError, match=r"omniopd-0: is not evaluated .*; run `omniopd evaluate --arm"):
        write_comparison([moved])
    shutil.copytree(Layout(evaluated.root).evaluations, Layout(tmp_path).evaluations)
    with pytest.raises(
        DataError, match=r"omniopd-0: its answers are not kept .*; run `omniopd evaluate --arm"
    ):
        write_comparison([moved])
