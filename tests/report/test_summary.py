"""The comparison over seeds, from records made by hand."""

import io
from typing import Any

import pytest
from rich.console import Console

from omniopd.report.summary import markdown, summarise, token_budget
from omniopd.report.table import accuracy_table, cost_table, summary_table


def accuracy(value: float) -> dict[str, Any]:
    return {"accuracy": value, "interval": [value - 0.02, value + 0.02], "num_prompts": 1000}


def record(
    arm: str, seed: int, after: float, *, tokens: int = 0, curve: tuple[float, ...] = (0.4, 0.5, 0.6)
) -> dict[str, Any]:
    """A run that is measured at rounds 0, 5, 10 and buys its tokens evenly."""
    points = [
        {"round": 5 * i, "teacher_tokens": tokens * i // (len(curve) - 1), "value": value}
        for i, value in enumerate(curve)
    ]
    return {
        "arm": arm,
        "seed": seed,
        "lr": 0.001,
        "before": {"greedy": accuracy(0.4), "sampled": accuracy(0.2), "fork_entropy": {"student": 0.3}},
        "after": {
            "greedy": accuracy(after),
            "sampled": accuracy(after / 2),
            "fork_entropy": {"student": 0.1, "teacher": 0.2},
        },
        "steps": 40,
        "trained_tokens": 5000,
        "student_tokens": 4000,
        "teacher_tokens": tokens,
        "cost_usd": 0.0,
        "seconds": {"roll out": 2.0, "train": 3.0},
        "curves": {"validation/greedy": points},
    }


RECORDS = [
    record("opd", 0, 0.90),
    record("opd", 1, 0.94),
    record("fork", 0, 0.93, tokens=1000, curve=(0.4, 0.7, 0.92)),
    record("fork", 1, 0.95, tokens=1000, curve=(0.4, 0.8, 0.96)),
    record("sft", 0, 0.97, tokens=4000, curve=(0.4, 0.6, 0.9, 0.95, 0.97)),
    record("sft", 1, 0.95, tokens=4000, curve=(0.4, 0.5, 0.9, 0.94, 0.95)),
    record("random", 1, 0.6, tokens=1000),
]


def test_arms_are_paired_seed_by_seed():
    summaries = {summary.arm: summary for summary in summarise(RECORDS, against="opd")}

    assert list(summaries) == ["opd", "fork", "sft", "random"]
    assert summaries["opd"].paired is None
    assert summaries["fork"].paired.value == pytest.approx(0.02)
    assert summaries["fork"].paired.half == pytest.approx(12.7062 * 0.01, rel=1e-4)  # 0.03 and 0.01
    assert summaries["random"].paired.value == pytest.approx(0.6 - 0.94)  # seed 1 alone
    assert summaries["random"].paired.half is None
    assert summaries["fork"].after.value == pytest.approx(0.94)
    assert summaries["fork"].sampled.value == pytest.approx(0.47)


def test_arms_that_buy_tokens_are_compared_at_the_budget_of_the_cheapest():
    summaries = {summary.arm: summary for summary in summarise(RECORDS, against=None)}

    assert token_budget(RECORDS) == 1000
    assert summaries["opd"].at_budget is None  # buys none
    assert summaries["fork"].at_budget.value == pytest.approx(0.94)  # its end
    assert summaries["sft"].at_budget.value == pytest.approx(0.55)  # after a quarter of its tokens
    assert all(summary.paired is None for summary in summaries.values())


def test_benchmarks_that_all_runs_of_an_arm_have_are_columns():
    def measured(arm: str, seed: int, **benchmarks: tuple[float, float]) -> dict[str, Any]:
        made = record(arm, seed, 0.5)
        for i, when in enumerate(("before", "after")):
            made[when]["benchmarks"] = {name: {"mean": pair[i]} for name, pair in benchmarks.items()}
        return made

    records = [
        measured("fork", 0, gsm8k=(0.25, 0.5), mbpp=(0.1, 0.2)), measured("fork", 1, gsm8k=(0.25, 0.7)),
        record("sft", 0, 0.5),
    ]  # fmt: skip
    summaries = {summary.arm: summary for summary in summarise(records, against=None)}

    assert list(summaries["fork"].benchmarks) == ["gsm8k"]
    assert [mean.value for mean in summaries["fork"].benchmarks["gsm8k"]] == pytest.approx([0.25, 0.6])
    assert summaries["sft"].benchmarks == {}
    text = markdown(records, against=None)
    assert "| gsm8k |" in text
    assert "| 0.250 → 0.600 ± 1.271 |" in text
    assert "`gsm8k`: Pass@1, before → after." in text


def test_no_arm_that_buys_tokens():
    for tokens, reached in ((1005, 0.8), (1020, 0.6)):
        more = record("short", 0, 0.8, tokens=tokens, curve=(0.4, 0.6, 0.8))
        assert summarise([*RECORDS, more], against=None)[-1].at_budget.value == reached
    assert token_budget(RECORDS[:2]) == 0
    assert summarise(RECORDS[:2], against=None)[0].at_budget is None


def test_a_teacher_that_cannot_be_read_has_no_entropy():
    silent = record("fork", 0, 0.9, tokens=10)
    del silent["after"]["fork_entropy"]["teacher"]

    [summary] = summarise([silent], against=None)

    assert (summary.student_entropy, summary.teacher_entropy) == (0.1, None)


def test_the_markdown_table():
    text = markdown(RECORDS, against="opd")

    header, _, opd, fork, sft, random = text.splitlines()[:6]
    assert "beyond `opd`" in header
    assert "at 1 k teacher tokens" in header
    assert opd.startswith(
        "| `opd` | 0.001 | 40 | 2 | 0.400 → 0.920 ± 0.254 | – | 0.460 ± 0.127 | – | 0 | 4 k |"
    )
    assert "| +0.020 ± 0.127 |" in fork
    assert "| 4 k | 4 k | 5 k | 5 | 0.100 (0.200) |" in sft
    assert "| -0.340 |" in random
    assert "1,000 held-out prompts" in text
    assert "| cost |" not in header


def test_what_was_paid_is_a_column_where_anything_was():
    paid = [{**run, "cost_usd": 0.5 * (1 + run["seed"])} if run["arm"] == "fork" else run for run in RECORDS]
    header, _, opd, fork, *_ = markdown(paid, against="opd").splitlines()
    assert "| teacher tokens | cost | student tokens |" in header
    assert "| 0 | $0.00 | 4 k |" in opd
    assert "| 1 k | $0.75 | 4 k |" in fork


@pytest.mark.parametrize("cost_usd", [0.0, 1234.5])
def test_the_tables_fit_a_terminal_of_80_columns(cost_usd: float):
    console = Console(width=80, file=io.StringIO())
    long = [{**row, "arm": row["arm"].ljust(16, "x"), "cost_usd": cost_usd} for row in RECORDS]
    console.print(summary_table(summarise(long, against=long[0]["arm"]), against="opd"))
    console.print(accuracy_table(long))
    console.print(cost_table(long))

    text = console.file.getvalue()

    assert "…" not in text
    for row in long:
        assert row["arm"] in text
    assert "+0.020" in text
    assert "± 0.127" in text
    assert ("$1,234" in text) == (cost_usd > 0)
