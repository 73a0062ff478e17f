"""The page of a run in a browser: by mouse and by keyboard, wide and narrow, light and dark, hostile and large."""

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import stories
from browser import opened

from omniopd.methods import OmniOPD
from omniopd.report.page.run import run_page

SECONDS = 10.0  # generous, for a machine with other work beside it; about one was measured
NUM_BYTES = 3_000_000  # of ten thousand audits; 2.2 MB were measured


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "run.html"
    path.write_text(run_page(stories.story(stories.few())), encoding="utf-8")
    return path


@pytest.fixture
def page(browser: Any, written: Path) -> Iterator[Any]:
    with opened(browser, written) as page:
        yield page


def first(page: Any, prompt: int, round_: int = 0) -> Any:
    """Open the response to that prompt."""
    page.locator("#list button", has_text=f"round {round_} · train-{prompt:05d}").first.click()
    return page.locator("#reading")


def matching(page: Any, **fields: str) -> list[str]:
    """The lines of the list when the filters say that."""
    for name, value in fields.items():
        field = page.locator(f"#find [name={name}]")
        field.select_option(value) if name in ("round", "failure", "order") else field.fill(value)
    page.locator("#list[aria-busy=false]").wait_for(state="attached")
    return page.locator("#list button").all_inner_texts()


# --- what models wrote


def test_markup_and_script_of_models_are_text(page: Any):
    reading = first(page, 3)

    shown = "".join(reading.locator("#response span[class^=entropy]").all_text_contents())
    assert shown == " ".join(stories.HOSTILE)
    assert page.locator("#planted").count() == page.locator("img").count() == 0
    reading.locator(".chunk").nth(1).click()
    assert stories.HOSTILE[1] in page.locator("#audit .pair").nth(1).inner_text()
    assert page.locator("#planted").count() == page.locator("img").count() == 0
    assert page.title() == "omniopd-0 · OmniOPD"


@pytest.mark.slow
def test_a_response_is_its_text_with_its_end_and_the_value_of_each_chunk(page: Any):
    reading = first(page, 0)

    item = stories.few()[0]
    shown = "".join(reading.locator("#response span[class^=entropy]").all_text_contents())
    assert shown == item.trajectory.response
    method = stories.config().method
    assert isinstance(method, OmniOPD)
    values = [f"{n}: {method.target(verdict):.2f}" for n, verdict in enumerate(item.verdicts, start=1)]
    assert reading.locator(".chunk .value").all_text_contents() == values
    assert reading.locator("#response .mark").all_text_contents() == ["end"]


# --- audits


def test_a_click_on_a_chunk_shows_its_replies_with_every_difference_marked(page: Any):
    first(page, 1).locator(".chunk").nth(1).click()

    verdict = stories.few()[1].verdicts[1]
    pairs = page.locator("#audit .pair")
    assert pairs.count() == len(verdict.replies)
    for n, reply in enumerate(verdict.replies):
        chunk_side, reply_side = pairs.nth(n).locator(".text").all()
        assert (chunk_side.text_content(), reply_side.text_content()) == (verdict.chunk, reply)
        kept = [side.evaluate(UNMARKED) for side in (chunk_side, reply_side)]
        assert kept[0] == kept[1]  # what is not marked is what both say
    shown = page.locator("#audit").inner_text()
    for text in ("pi_hat", "0.3 of N = 3", "pi_bar", "disagreement", "instruct", "claude", "$0.0021"):
        assert text in shown


UNMARKED = """side => [...side.childNodes].filter(node => node.nodeType === Node.TEXT_NODE)
    .map(node => node.data).join('')"""


@pytest.mark.slow
def test_a_reply_that_is_the_chunk_has_nothing_marked(page: Any):
    first(page, 1).locator(".chunk").first.click()

    pair = page.locator("#audit .pair")
    assert pair.nth(0).locator("del, ins").count() == 0
    assert pair.nth(2).locator("ins").all_text_contents() == ["!"]


@pytest.mark.slow
def test_a_failed_audit_says_why_and_has_no_target(page: Any):
    chunk = first(page, 1).locator(".chunk").nth(2)
    chunk.click()

    assert chunk.locator(".value").text_content() == "3: failed"
    assert "timeout" in page.locator("#audit").inner_text()
    assert "pi_hat" not in page.locator("#audit").inner_text()


# --- finding


@pytest.mark.slow
def test_filters_leave_what_they_say(page: Any):
    assert len(matching(page)) == 12
    assert len(matching(page, round="1")) == 4
    assert len(matching(page, prompt="00002")) == 1
    page.locator("#find [type=reset]").click()
    assert len(matching(page, failure="timeout")) == 3
    page.locator("#find [type=reset]").click()
    assert len(matching(page, low="0.99")) == 0
    page.locator("#find [type=reset]").click()
    assert len(matching(page, apart="0.9")) == 12
    assert len(matching(page, apart="0.9", low="0.5")) == 0  # no one audit is both


@pytest.mark.slow
def test_a_search_finds_text_of_prompts_responses_and_replies(page: Any):
    assert len(matching(page, text="HOW LONG DOES TRAIN 2")) == 3
    assert len(matching(page, text="document.title")) == 12  # the replies too
    response = stories.few()[0].trajectory.response
    assert len(matching(page, text=response)) == 1
    assert matching(page, text="nowhere") == []
    assert page.locator("#count").inner_text() == "0 of 12 match"


@pytest.mark.slow
def test_the_lowest_targets_come_first_when_that_is_asked(page: Any):
    lines = matching(page, order="low")

    method = stories.config().method
    assert isinstance(method, OmniOPD)
    least = {
        item.trajectory.id: min(method.target(verdict) for verdict in item.verdicts if not verdict.failure)
        for item in stories.few()
    }
    assert len(lines) == 12
    page.locator("#list button").first.click()
    opened_id = page.locator("#reading dd").first.text_content()
    assert least[opened_id] == min(least.values())


@pytest.mark.slow
def test_from_a_prompt_one_goes_to_the_same_prompt_in_the_rounds_around(page: Any):
    reading = first(page, 2, round_=1)

    page.locator("[data-same=later]").click()
    assert reading.locator("h3").first.inner_text() == "train-00002, round 2"
    assert page.locator("[data-same=later]").is_disabled()
    page.locator("[data-same=earlier]").click()
    page.locator("[data-same=earlier]").click()
    assert reading.locator("h3").first.inner_text() == "train-00002, round 0"


# --- for everybody


def test_everything_can_be_done_by_keyboard(page: Any):
    page.locator("#list button").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert focused(page) == "reading"
    while "chunk" not in page.evaluate("document.activeElement.className"):
        page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert focused(page) == "audit"
    page.keyboard.press("Escape")
    assert page.locator("#audit").count() == 0
    assert page.evaluate("document.activeElement.dataset.audit") == "1"
    page.keyboard.press("Space")
    assert focused(page) == "audit"
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.getAttribute('aria-current')") == "true"


def focused(page: Any) -> str:
    return page.evaluate("document.activeElement.id")


@pytest.mark.slow
def test_what_has_the_focus_shows_it(page: Any):
    page.locator("#list button").first.focus()
    page.keyboard.press("ArrowDown")

    width = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert float(width.removesuffix("px")) >= 2


@pytest.mark.slow
def test_headings_and_landmarks_say_what_is_where(page: Any):
    first(page, 0).locator(".chunk").first.click()

    assert [page.get_by_role(role).count() for role in ("banner", "main", "search")] == [1, 1, 1]
    levels = page.evaluate(
        "[...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(element => +element.tagName[1])"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert page.evaluate(
        "[...document.querySelectorAll('input,select')].every(element => element.labels.length === 1)"
    )
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(element => element.id)")
    assert len(ids) == len(set(ids))


@pytest.mark.slow
def test_entropy_target_and_difference_can_be_seen_without_colour(page: Any):
    reading = first(page, 1)

    unsure = reading.locator("#response .entropy-4").first
    assert "underline" in unsure.evaluate("element => getComputedStyle(element).textDecorationLine")
    assert (
        reading.locator(".chunk").nth(2).evaluate("element => getComputedStyle(element).borderTopStyle")
        == "dashed"
    )
    reading.locator(".chunk").nth(1).click()
    lines = [
        page.locator(f"#audit {name}").first.evaluate(
            "element => getComputedStyle(element).textDecorationLine"
        )
        for name in ("del", "ins")
    ]
    assert lines == ["line-through", "underline"]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_colour_of_text_has_enough_contrast_with_its_background(
    browser: Any, written: Path, scheme: str
):
    with opened(browser, written, scheme=scheme) as page:
        colours = {name: numbers(colour) for name, colour in page.evaluate(COLOURS).items()}

    dark_on_light = luminance(colours["--ink"]) < luminance(colours["--paper"])
    assert dark_on_light == (scheme == "light")
    texts = ["--ink", "--quiet", "--link", "--bad", *(f"--target-{n}" for n in range(5))]
    ratios = {
        (text, ground): contrast(colours[text], colours[ground])
        for text in texts
        for ground in ("--paper", "--raised")
    }
    assert min(ratios.values()) >= 4.5, ratios  # WCAG 2.2, 1.4.3


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast_with_every_shade_of_entropy_and_mark_of_difference(
    browser: Any, written: Path, scheme: str
):
    with opened(browser, written, scheme=scheme) as page:
        first(page, 1).locator(".chunk").nth(1).click()
        shades = page.evaluate(SHADED)

    assert {kind for kind, *_ in shades} >= {*(f"entropy-{n}" for n in range(5)), "del", "ins"}
    for kind, ink, shade, paper in shades:
        assert contrast(ink, blended(shade, paper)) >= 4.5, kind


SHADED = """() => [...document.querySelectorAll('#response [class*=entropy], #audit del, #audit ins')].map(element => [
    [...element.classList].find(name => name.startsWith('entropy')) ?? element.localName,
    ...[getComputedStyle(element).color, getComputedStyle(element).backgroundColor,
        getComputedStyle(element.closest('.text')).backgroundColor].map(text => text.match(/[\\d.]+/g).map(Number))])"""


def blended(shade: list[float], paper: list[float]) -> list[float]:
    """What is seen of a colour with some opacity on another."""
    alpha = shade[3] if len(shade) > 3 else 1.0
    return [alpha * over + (1 - alpha) * under for over, under in zip(shade[:3], paper, strict=True)]


COLOURS = """() => Object.fromEntries(['--ink', '--quiet', '--link', '--bad', '--paper', '--raised',
    ...[0, 1, 2, 3, 4].map(n => `--target-${n}`)]
    .map(name => [name, getComputedStyle(document.documentElement).getPropertyValue(name).trim()]))"""


def numbers(colour: str) -> list[float]:
    """#rrggbb as red, green and blue of 255."""
    return [int(colour[n : n + 2], 16) for n in (1, 3, 5)]


def luminance(colour: list[float]) -> float:
    """Relative luminance of red, green and blue (WCAG 2.2)."""
    parts = [channel / 255 for channel in colour]
    red, green, blue = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: list[float], other: list[float]) -> float:
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.slow
def test_on_a_phone_nothing_is_wider_than_the_screen(browser: Any, written: Path):
    with opened(browser, written, width=360) as page:
        first(page, 3).locator(".chunk").nth(1).click()

        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        tops = page.locator("#audit .pair").first.evaluate(
            "pair => [...pair.children].map(side => side.getBoundingClientRect().top)"
        )
        assert tops[0] < tops[1]  # the one below the other


# --- curves


@pytest.mark.slow
def test_each_curve_is_drawn_and_has_its_numbers_as_a_table(page: Any):
    charts = page.locator("figure.chart")

    assert charts.count() == page.locator("figure.chart canvas").count() > 8
    accuracy = charts.first
    accuracy.locator("summary").click()
    accuracy.locator("tbody tr").last.wait_for()
    assert accuracy.locator("thead th").all_text_contents() == ["round", "greedy, validation"]
    assert accuracy.locator("tbody tr").last.locator("td").all_text_contents() == ["6", "0.7"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ends", "axis"),
    [((0, 0), [0, 1]), ((0.5, 0.5), [0, 1]), ((-2, -2), [-4, 0]), ((None, None), [0, 1])],
)
def test_a_flat_line_is_drawn_on_an_axis_of_its_own_size(page: Any, ends: tuple[Any, Any], axis: list[float]):
    assert page.evaluate("([low, high]) => Charts.range(null, low, high)", list(ends)) == axis


# --- without a tokenizer, and many


@pytest.mark.slow
def test_without_a_tokenizer_responses_are_whole_and_chunks_are_listed(browser: Any, tmp_path: Path):
    path = tmp_path / "run.html"
    path.write_text(run_page(stories.story(stories.few(), reads_tokens=False)), encoding="utf-8")

    with opened(browser, path) as page:
        reading = first(page, 1)
        assert reading.locator("#response").text_content() == stories.few()[1].trajectory.response
        reading.locator(".chunk").nth(1).click()
        assert page.locator("#audit .pair").count() == 3


@pytest.mark.slow
def test_ten_thousand_audits_open_and_are_searched_fast(browser: Any, tmp_path: Path):
    path = tmp_path / "run.html"
    path.write_text(run_page(stories.story(stories.many(2000, num_audits=5))), encoding="utf-8")
    begin = time.monotonic()
    with opened(browser, path) as page:
        opened_s = time.monotonic() - begin
        assert page.locator("#list button").count() == 50
        begin = time.monotonic()
        page.locator("#find [name=text]").fill("train 77 ")
        page.get_by_text("4 of 2,000 match").wait_for()
        searched_s = time.monotonic() - begin
    print(f"{path.stat().st_size:,} bytes, opened in {opened_s:.2f} s, searched in {searched_s:.2f} s")
    assert max(opened_s, searched_s) < SECONDS
    assert path.stat().st_size < NUM_BYTES
