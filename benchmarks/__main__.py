"""make bench: every benchmark, as a table and as JSON with the machine's name."""

import json
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import orchestration, similarity, teacher
from benchmarks.figure import Figure

RESULTS = Path(__file__).parent / "results"
BENCHMARKS = {
    "teacher": teacher.figures,
    "similarity": similarity.figures,
    "orchestration": orchestration.figures,
}


def main() -> None:
    """Run those named on the command line, or all."""
    named = sys.argv[1:] or list(BENCHMARKS)
    found = [figure for name in named for figure in BENCHMARKS[name]()]
    Console().print(_table(found))
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    content = {
        "machine": platform.processor() or platform.machine(),
        "figures": [vars(figure) for figure in found],
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(path)


def _table(figures: list[Figure]) -> Table:
    table = Table(title="Medians", title_justify="left")
    for name in ("what", "ours", "beside", "theirs", "ours / theirs"):
        table.add_column(name, justify="left" if name in ("what", "beside") else "right")
    for figure in figures:
        beside = (
            (figure.beside, f"{figure.theirs:,.0f}", f"{figure.ratio:.2f}") if figure.theirs else ("", "", "")
        )
        table.add_row(f"{figure.what}, {figure.unit}", f"{figure.ours:,.0f}", *beside)
    return table


if __name__ == "__main__":
    main()
