"""The page of a comparison: the table, who is shown, and reading it in a browser."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import stories
from browser import opened

from omniopd.report.page.comparison import Answered, accuracy_chart, answers, comparison_page
from omniopd.report.summary import Cells, cells, markdown

RECORDS = {
    "sft-0": stories.record("sft", 0, after=0.75),
    "fork-0": stories.record("fork", 0, after=1.0, teacher_tokens=400),
}
BEFORE = stories.answers([True, False, True, False])
ANSWERED = [
    Answered("sft-0", "before", BEFORE),
    Answered("sft-0", "after", stories.answers([True, False, True, True])),
    Answered("fork-0", "before", BEFORE),
    Answered("fork-0", "after", stories.answers([True, True, True, True])),
]


def table() -> Cells:
    return cells(list(RECORDS.values()), against="sft")


def written(folder: Path) -> Path:
    path = folder / "comparison.html"
    path.write_text(comparison_page(RECORDS, ANSWERED, table(), title="sft-0 and fork-0"), encoding="utf-8")
    return path


# --- what it holds


def test_subjects_that_answered_alike_are_shown_as_one():
    content = answers(ANSWERED)

    assert content["labels"] == ["sft-0, before; fork-0, before", "sft-0, after", "fork-0, after"]
    assert [[answer["right"] for answer in prompt["answers"]] for prompt in content["prompts"]] == [
        [True, True, True],
        [False, False, True],
        [True, True, True],
        [False, True, True],
    ]


def test_prompts_of_two_seeds_are_not_the_same_and_who_was_not_asked_has_no_answer():
    other = [replace(answer, prompt=f"Again: {answer.prompt}") for answer in BEFORE]

    content = answers([Answered("sft-0", "after", BEFORE), Answered("sft-1", "after", other)])

    assert len(content["prompts"]) == 8
    assert [answer is None for answer in content["prompts"][0]["answers"]] == [False, True]
    assert [answer is None for answer in content["prompts"][7]["answers"]] == [True, False]


def test_the_table_is_that_of_the_markdown():
    text = markdown(list(RECORDS.values()), against="sft")

    for row in [table().names, *table().rows]:
        assert f"| {' | '.join(row)} |" in text
    assert all(line in text for line in table().legend)


def test_runs_that_were_measured_in_other_rounds_share_a_chart_with_gaps():
    other = stories.record("opd", 0, after=0.9)
    other["curves"]["validation/greedy"][1]["round"] = 4

    chart = accuracy_chart({"sft-0": RECORDS["sft-0"], "opd-0": other})

    assert chart.x == [0, 4, 5, 9]
    assert [line.values for line in chart.lines] == [[0.5, None, 0.6, 0.75], [0.5, 0.6, None, 0.9]]


def test_what_models_wrote_is_in_the_page_as_data_alone(tmp_path: Path):
    html = written(tmp_path).read_text(encoding="utf-8")

    assert not [text for text in stories.HOSTILE if text in html]
    assert stories.payload(html, "answers") == answers(ANSWERED)


# --- in a browser


def test_a_prompt_shows_each_answer_with_its_grade_in_words(browser: Any, tmp_path: Path):
    with opened(browser, written(tmp_path)) as page:
        page.locator("#list button").nth(1).click()

        cards = page.locator("#reading .card")
        assert cards.locator("h4").all_text_contents() == answers(ANSWERED)["labels"]
        assert cards.locator(".grade").all_text_contents() == [
            "✗ wrong: another answer",
            "✗ wrong: another answer",
            "✓ right",
        ]
        assert cards.locator(".text").first.text_content() == BEFORE[1].response
        assert page.title() == "sft-0 and fork-0 · OmniOPD"


@pytest.mark.slow
def test_prompts_are_filtered_by_who_is_right_and_who_is_wrong(browser: Any, tmp_path: Path):
    with opened(browser, written(tmp_path)) as page:
        page.locator("[name=subject-0]").select_option("wrong")
        page.get_by_text("2 of 4 match").wait_for()
        page.locator("[name=subject-1]").select_option("right")
        page.get_by_text("1 of 4 match").wait_for()
        assert page.locator("#list button").inner_text().startswith("heldout-00003")
        page.locator("#find [type=reset]").click()
        page.locator("[name=text]").fill("planted")
        page.get_by_text("1 of 4 match").wait_for()
        assert page.locator("#planted").count() == 0


@pytest.mark.slow
def test_on_a_phone_only_the_table_scrolls_sideways(browser: Any, tmp_path: Path):
    with opened(browser, written(tmp_path), width=360, scheme="dark") as page:
        page.locator("#list button").first.click()

        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.locator("#table td").first.inner_text() == "0.001"
