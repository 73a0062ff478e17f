"""make bench: every benchmark, as a table and as JSON with the machine's name."""

import json
import platform
import sys
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.figure import Figure

RESULTS = Path(__file__).parent / "results"
NAMES = (
    "loss", "step", "rounds", "rollouts", "teacher", "similarity", "grading", "prompts", "orchestration"
)  # fmt: skip
ON_GPU = {"loss": "loss.figures_gpu", "step": "step_gpu.figures"}
BENCHMARKS = {name: f"{name}.figures" for name in NAMES}


def main() -> None:
    """Run the benchmarks named on the command line, or all; with --gpu, those of a GPU."""
    on_gpu, named = "--gpu" in sys.argv, [name for name in sys.argv[1:] if name != "--gpu"]
    if on_gpu and not torch.cuda.is_available():
        sys.exit("bench-gpu: torch finds no GPU here; `make bench` measures on the CPU")
    known = ON_GPU if on_gpu else BENCHMARKS
    figures: list[Figure] = []
    for name in named or known:
        measured = _figures(known[name])
        Console().print(_table(name, measured))  # at once: all of them take many minutes
        figures += measured
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    content = {
        "machine": torch.cuda.get_device_name() if on_gpu else platform.processor() or platform.machine(),
        "figures": [vars(figure) for figure in figures],
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(path)


def _figures(where: str) -> list[Figure]:
    """Imports the module only now: a machine with a GPU needs only the packages of its benchmarks."""
    module, function = where.split(".")
    return getattr(import_module(f"benchmarks.{module}"), function)()


def _table(name: str, figures: list[Figure]) -> Table:
    table = Table(title=f"{name}: medians", title_justify="left")
    for column in ("what", "ours", "beside", "theirs", "ours / theirs"):
        table.add_column(column, justify="left" if column in ("what", "beside") else "right")
    for figure in figures:
        comparison = (
            (figure.beside, f"{figure.theirs:,.0f}", f"{figure.ratio:.2f}") if figure.theirs else ("", "", "")
        )
        table.add_row(f"{figure.what}, {figure.unit}", f"{figure.ours:,.0f}", *comparison)
    return table


if __name__ == "__main__":
    main()
