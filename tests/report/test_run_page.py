"""The page of a run as text: facts, curves, what it may fetch, and that it needs nothing besides itself."""

import base64
import gzip
import hashlib
import json
import math
import re
from dataclasses import replace

import pytest
import stories

from omniopd.report.page.curves import charts
from omniopd.report.page.facts import seconds_by_stage, tables
from omniopd.report.page.render import finite, packed
from omniopd.report.page.run import run_page


def test_the_page_names_the_run_its_models_its_spend_and_the_alarms_that_rang():
    html = run_page(stories.story(stories.few()))

    for text in ("omniopd-0", "models/seed-0/student", "aa11", "$0.30", "from round 2:", "cut at the limit"):
        assert text in html


def test_spend_is_shown_with_its_budget():
    story = stories.story([])
    teacher = story.config.teacher.model_copy(update={"budget_usd": 0.6, "budget_tokens": 60_000})
    story = replace(story, config=story.config.model_copy(update={"teacher": teacher}))

    spend = tables(story)["Spend"]

    assert spend["budget, dollars"] == "0.3 of 0.6 (50.0%)"
    assert spend["budget, tokens"] == "30,000 of 60,000 (50.0%)"


def test_stages_are_listed_from_the_longest_on_with_their_shares():
    stages = seconds_by_stage(stories.story([]))

    assert stages == [("verify", 60.0, 0.6), ("train", 30.0, 0.3), ("roll out", 10.0, 0.1)]


def test_accuracy_is_drawn_over_rounds_and_over_the_tokens_bought_before_it_was_measured():
    over_rounds, over_tokens, *_ = charts(stories.rounds(6))

    assert over_rounds.x == [0, 2, 4, 6]
    assert over_tokens.x == [0.0, 2000.0, 4000.0, 6000.0]
    assert (
        over_tokens.lines[0].values == over_rounds.lines[0].values == pytest.approx([0.44, 0.54, 0.64, 0.7])
    )


def test_only_what_a_run_has_is_drawn():
    rows = [
        {"round": 0, "loss": 1.0, "teacher_tokens": 0.0, "cost_usd": 0.0},
        {"round": 1, "validation/greedy": 0.5},
    ]

    assert [chart.title for chart in charts(rows, budget_usd=5.0)] == [
        "Accuracy over rounds",
        "Loss and its parts",
    ]


def test_what_was_paid_is_added_up_and_drawn_with_its_budget():
    *_, spend = charts(stories.rounds(3), budget_usd=1.0)

    assert [line.name for line in spend.lines] == ["paid", "budget"]
    assert spend.lines[0].values == pytest.approx([0.05, 0.1, 0.15])


def test_k_sem_is_drawn_with_its_floor():
    (chart,) = [one for one in charts(stories.rounds()) if one.y_name == "k_sem"]

    assert [line.name for line in chart.lines] == ["k_sem", "floor: replies to other chunks"]


def test_nothing_that_a_model_wrote_is_markup_in_the_page():
    html = run_page(stories.story(stories.few()))

    assert not [text for text in stories.HOSTILE if text in html]
    content = stories.payload(html, "trajectories")
    assert stories.HOSTILE[0] + stories.HOSTILE[2] in content["prompts"]
    assert stories.HOSTILE[1] in content["rows"][0]["audits"][1]["replies"]


def test_settings_are_escaped():
    story = replace(stories.story([]), name="<b>run</b>", models={"student": stories.HOSTILE[1]})

    html = run_page(story)

    assert "<b>" not in html
    assert "&lt;img src=x" in html


def test_the_page_lets_nothing_be_fetched_and_runs_only_its_own_script():
    html = run_page(stories.story(stories.few()))

    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    script, style = (
        re.search(r"<script>(.*?)</script>", html, re.DOTALL),
        re.search(r"<style>(.*?)</style>", html, re.DOTALL),
    )
    assert policy is not None
    assert script is not None
    assert style is not None
    rules = dict(rule.split(" ", 1) for rule in policy[1].replace("&#39;", "'").split("; "))
    digests = [
        base64.b64encode(hashlib.sha256(text[1].encode()).digest()).decode() for text in (script, style)
    ]
    assert rules["default-src"] == "'none'"
    assert [rules["script-src"], rules["style-src"]] == [f"'sha256-{digest}'" for digest in digests]
    assert not re.search(r"<link|<script[^>]+src|@import|url\(", html)


def test_a_run_that_has_only_begun_has_a_page():
    story = replace(stories.story([]), rounds=[], seconds={}, alarms=[])

    html = run_page(story)

    assert "No round is complete yet." in html
    assert "None rang." in html
    assert stories.payload(html, "trajectories")["rows"] == []


def test_the_same_run_gives_the_same_page_to_the_byte():
    assert run_page(stories.story(stories.few())) == run_page(stories.story(stories.few()))


def test_metrics_that_are_no_numbers_leave_a_gap():
    assert finite({"x": [1.0, float("nan")], "name": "loss"}) == {"x": [1.0, None], "name": "loss"}
    for value, known in ((math.inf, None), (math.nan, None), (0.5, 0.5)):
        assert json.loads(gzip.decompress(base64.b64decode(packed({"loss": [1.0, value]})))) == {
            "loss": [1.0, known]
        }
