"""What Prefect and MLflow add to a round: the same stages as plain calls, as tasks of the flow, and tracked."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.figure import Figure

ROOT = Path(__file__).parent.parent
NUM_ROUNDS, TURNS = 60, 3
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
ARM = "omniopd"
PLAIN = "from pathlib import Path; from projects import run_plain; run_plain(Path('params.yaml'))"
COMMANDS = {
    "plain": [sys.executable, "-c", PLAIN],
    "flow": [sys.executable, "-m", "flows", "distill", "--arm", ARM],
}


def figures() -> list[Figure]:
    """Milliseconds a round, with an embedded server and with one shard; start-up is left out."""
    with tempfile.TemporaryDirectory() as folder:
        made = _project(Path(folder) / "made")
        by_name: dict[str, list[float]] = {"plain": [], "flow": [], "plain, tracked": [], "flow, tracked": []}
        for turn in range(TURNS):
            for name, times in by_name.items():
                times.append(_round_ms(made, Path(folder) / f"{turn}-{name}", name))
        plain, flow, tracked, both = (statistics.median(times) for times in by_name.values())
    return [
        Figure("a round through Prefect", "ms", flow, "its stages as plain calls", plain),
        Figure("a round logged to MLflow", "ms", tracked, "one that is not", plain),
        Figure("a round through Prefect, logged to MLflow", "ms", both, "its stages as plain calls", plain),
        Figure("overhead of both per round", "ms", both - plain, "goal, at most", 300.0),
        Figure("overhead of both on a round of 10 s", "ms", both - plain, "5 % of it", 500.0),
    ]


def _project(root: Path) -> Path:
    """A tiny project with its prompts and models."""
    sys.path.insert(0, str(ROOT / "tests"))
    from projects import make_project

    project = make_project(root)
    project.edit_paths(
        {"train.num_rounds": NUM_ROUNDS, "train.checkpoint_every": NUM_ROUNDS, "prompts.num_train": 200}
    )
    project.make_base()
    return root


def _round_ms(made: Path, root: Path, name: str) -> float:
    """The mean over a run's rounds without the first."""
    from projects import Project

    kind, _, tracked = name.partition(", ")
    project = Project(made).copied_to(root).edit_paths({"tracking.enabled": bool(tracked)})
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    subprocess.run(COMMANDS[kind], cwd=root, env=environment, check=True, capture_output=True)
    manifests = sorted((project.run_dir(ARM) / "manifests").glob("*.json"))
    first, last = (path.stat().st_mtime for path in (manifests[0], manifests[NUM_ROUNDS - 1]))
    assert json.loads(manifests[-1].read_text())["round"] == NUM_ROUNDS
    return 1000 * (last - first) / (NUM_ROUNDS - 1)
