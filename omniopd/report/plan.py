"""The plan as a table: what the runs will ask of their teacher. 80 columns."""

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table

from omniopd.report.summary import dollars, short_count

COSTS = ("cost_usd", "cost_usd_with_prefix_cache")


def plan_table(rows: Sequence[dict[str, Any]]) -> Table:
    """One row an arm, below a line the settings beside them, and last all runs together."""
    table = Table(
        title="One run asks of the teacher", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    table.add_column("arm", no_wrap=True)
    has_prices = any(row["one_run"]["cost_usd"] for row in rows)
    has_limits = any(row["one_run"]["minutes_at_the_limits"] is not None for row in rows)
    costs = ("cost", "with\ncache") if has_prices else ()
    minutes = ("minutes",) if has_limits else ()
    for name in ("calls", "tokens\nin", "of these\ncached", "tokens\nout", *costs, *minutes, "runs"):
        table.add_column(name, justify="right")
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        ends_arms = bool(row["runs"] and following and not following["runs"])
        cells = _cells(row["one_run"], has_prices=has_prices, has_limits=has_limits)
        table.add_row(row["arm"], *cells, str(row["runs"] or "–"), end_section=ends_arms)
    return table


def plan_total(rows: Sequence[dict[str, Any]]) -> str:
    """All runs together, in a line."""
    runs = [row for row in rows if row["runs"]]

    def all_of(name: str) -> float:
        return sum(row["one_run"][name] * row["runs"] for row in runs)

    calls, read, written = (
        short_count(round(all_of(name))) for name in ("calls", "prompt_tokens", "completion_tokens")
    )
    line = f"All {sum(row['runs'] for row in runs)} runs: {calls} calls, {read} tokens in, {written} out"
    if not all_of("cost_usd"):
        return line
    plain, cached = (dollars(all_of(name)) for name in COSTS)
    return f"{line}, {plain}, or {cached} with a prefix cache"


def _cells(one: dict[str, Any], *, has_prices: bool, has_limits: bool) -> list[str]:
    names = ("calls", "prompt_tokens", "cached_tokens", "completion_tokens")
    cells = [short_count(round(one[name])) for name in names]
    if has_prices:
        cells += [dollars(one[name]) for name in COSTS]
    if has_limits:
        cells.append(f"{one['minutes_at_the_limits']:.0f}")
    return cells
