"""The plan as tables: what the runs will ask of their teacher, and what training takes of memory. 80 columns."""

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table

from omniopd.report.summary import dollars, short_count

GIB = 2**30
PARTS = ("parameters", "gradients", "moments", "frozen", "activations", "loss", "peak")
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


def memory_table(memory: dict[str, Any]) -> Table:
    """GiB of one training process, a row an arm."""
    table = Table(
        title="One training process takes, in GiB",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("arm", no_wrap=True)
    for name in ("weights", "gradi-\nents", "mo-\nments", "frozen\nmodels", "activa-\ntions", "loss", "peak"):
        table.add_column(name, justify="right")
    for row in memory["arms"]:
        table.add_row(row["arm"], *(_gib(row["one_process"][part]) for part in PARTS))
    return table


def _gib(count: int) -> str:
    return f"{count / GIB:.2f}" if count < 100 * GIB else f"{count / GIB:.0f}"


def memory_line(memory: dict[str, Any]) -> str:
    """Whether the arm that takes most fits, in a line."""
    room = memory["room"]
    most = max(memory["arms"], key=lambda row: row["one_process"]["peak"] * row["processes"])
    needed = most["one_process"]["peak"] * most["processes"] / GIB
    answer = "fits in" if memory["fits"] else "does not fit in"
    free = f"the {room['free'] / GIB:.2f} GiB that are free of {room['name']}"
    return f"{most['arm']} takes most, {needed:.2f} GiB: it {answer} {free}"
