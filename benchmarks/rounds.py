"""The stages of a round of the demo, each compared with the whole round."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from benchmarks.figure import Figure

ROOT = Path(__file__).parent.parent
NUM_ROUNDS = 16
ARMS = ("omniopd", "omniopd-fork", "opd")
LEFT_OUT = 2  # rounds at the beginning, in which libraries warm up


def figures() -> list[Figure]:
    """Milliseconds a round, medians over NUM_ROUNDS; the models are the demo's, trained for a third of its steps."""
    measured = []
    with tempfile.TemporaryDirectory() as folder:
        made = _project(Path(folder) / "made")
        for arm in ARMS:
            stages = _stages(made, Path(folder) / arm, arm)
            whole = sum(stages.values())
            measured += [
                Figure(f"{arm}: {stage}", "ms", spent, "the whole round", whole)
                for stage, spent in stages.items()
            ]
    return measured


def _project(root: Path) -> Path:
    sys.path.insert(0, str(ROOT / "tests"))
    from projects import Project, make_project

    make_project(root)
    (root / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    project = Project(root).edit_paths(
        {
            "seeds": [0],
            "models.demo.student.num_steps": 150,
            "models.demo.teacher.num_steps": 130,
            "models.demo.start": {"lowest": 0.0, "highest": 1.0, "max_draws": 1},
            "train.num_rounds": NUM_ROUNDS,
            "train.checkpoint_every": NUM_ROUNDS,
            "train.validate_every": NUM_ROUNDS,
            "tracking.enabled": False,
            "arms": {
                "omniopd": {"method": "omniopd"},
                "omniopd-fork": {"method": "fork"},
                "opd": {"method": "opd"},
            },
            "ablations": {},
            "ablation_seeds": [],
            "comparison.against": None,
        }
    )
    project.make_base()
    return root


def _stages(made: Path, root: Path, arm: str) -> dict[str, float]:
    """Median milliseconds of each stage of a round, run as plain calls."""
    from projects import Project

    project = Project(made).copied_to(root)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    program = (
        f"from pathlib import Path; from projects import run_plain; run_plain(Path('params.yaml'), {arm!r})"
    )
    subprocess.run(
        [sys.executable, "-c", program], cwd=root, env=environment, check=True, capture_output=True
    )
    spent: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for line in (project.run_dir(arm) / "timings.jsonl").read_text().splitlines():
        entry = json.loads(line)
        spent[entry["stage"]][entry["round"]] += entry["seconds"]
    return {
        stage: 1000 * statistics.median(rounds[r] for r in range(LEFT_OUT, NUM_ROUNDS))
        for stage, rounds in spent.items()
        if stage != "validate"
    }
