"""Benchmark scores, as a table for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table


def benchmarks_table(measured: Mapping[str, Sequence[Mapping[str, Any]]]) -> Table:
    """A row for each benchmark and model: accuracy and interval, the highest pass@k, cut share and mean length."""
    result = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    names = ("benchmark", "model", "Pass@1", "95 % interval", "pass@k", "items", "cut", "tokens")
    for name in names:
        result.add_column(name, justify="left" if name in names[:2] else "right", no_wrap=name != "model")
    rows = [(record["benchmark"], model, record) for model, scores in measured.items() for record in scores]
    for benchmark in dict.fromkeys(name for name, _, _ in rows):
        for name, model, record in rows:
            if name == benchmark:
                result.add_row(benchmark, model, *_cells(record))
    return result


def _cells(record: Mapping[str, Any]) -> list[str]:
    interval = record["interval"]  # None for one item with several samples
    samples = f" × {record['num_samples']}" if record["num_samples"] > 1 else ""
    most = max(map(int, record["pass_at"]), default=1)  # pass@1 is the mean
    return [
        f"{record['mean']:.3f}",
        "–" if interval is None else "{:.3f}–{:.3f}".format(*interval),
        f"{record['pass_at'][str(most)]:.3f} @{most}" if most > 1 else "–",
        f"{record['num_items']:,}{samples}",
        f"{record['cut_share']:.2f}",
        f"{record['mean_tokens']:,.0f}",
    ]
