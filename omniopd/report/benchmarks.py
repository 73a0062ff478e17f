"""What benchmarks came to, as a reader sees it in a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table


def benchmarks_table(measured: Mapping[str, Sequence[Mapping[str, Any]]]) -> Table:
    """One row a benchmark and model: accuracy with its interval, the highest pass@k, cut share and mean length."""
    result = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    names = ("benchmark", "model", "Pass@1", "95 % interval", "pass@k", "items", "cut", "tokens")
    for name in names:
        result.add_column(name, justify="left" if name in names[:2] else "right", no_wrap=name != "model")
    benchmarks = dict.fromkeys(record["benchmark"] for own in measured.values() for record in own)
    by_name = {(record["benchmark"], model): record for model, own in measured.items() for record in own}
    for benchmark in benchmarks:
        for model in measured:
            if (benchmark, model) in by_name:
                result.add_row(benchmark, model, *_cells(by_name[benchmark, model]))
    return result


def _cells(record: Mapping[str, Any]) -> list[str]:
    interval = record["interval"]  # one item with several samples has none
    samples = f" × {record['num_samples']}" if record["num_samples"] > 1 else ""
    return [
        f"{record['mean']:.3f}",
        "–" if interval is None else "{:.3f}–{:.3f}".format(*interval),
        _pass_at(record["pass_at"]),
        f"{record['num_items']:,}{samples}",
        f"{record['cut_share']:.2f}",
        f"{record['mean_tokens']:,.0f}",
    ]


def _pass_at(found: Mapping[str, float]) -> str:
    """That of the most samples; of one sample it says nothing that Pass@1 does not."""
    most = max(map(int, found), default=1)
    return f"{found[str(most)]:.3f} @{most}" if most > 1 else "–"
