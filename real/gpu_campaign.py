"""Arms of params.yaml on one GPU, larger, until the time is up; see scripts/gpu-campaign.

Writes to $OUT: machine.json, and for each arm as soon as it is measured a line in results.jsonl.
"""

import json
import os
import platform
import shutil
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
STARTED = time.monotonic()
LIMIT_S = 8 * 60
ARMS = ("omniopd-fork", "opd", "sft", "omniopd", "fork-self", "omniopd-baseline", "fork-centred", "sft-t1")
LARGE = {
    "seeds": [0],
    "prompts": {"num_train": 3200, "num_validation": 64, "num_heldout": 256},
    "teacher": {"batch_size": 256},
    "rollout": {"num_prompts": 64, "batch_size": 64},
    "train": {
        "num_rounds": 40, "precision": "bfloat16", "batch_size": 64, "checkpoint_every": 40, "validate_every": 40,
    },
    "evaluation": {"batch_size": 256},
    "compute": {"num_threads": 16},
    "tracking": {"enabled": False},
}  # fmt: skip
TINY = {
    "seeds": [0],
    "prompts": {"num_train": 8, "num_validation": 2, "num_heldout": 4},
    "rollout": {"num_prompts": 2, "batch_size": 2},
    "train": {"num_rounds": 2, "warmup_rounds": 0, "batch_size": 2, "checkpoint_every": 2, "validate_every": 2},
    "tracking": {"enabled": False},
}  # fmt: skip


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The settings with the changes, block by block."""
    both = {
        name: merged(base[name], value) for name, value in changes.items() if isinstance(base.get(name), dict)
    }
    return {**base, **changes, **both}


def project(out: Path, changes: dict[str, Any]) -> Path:
    """A project folder with the changed settings; returns its params.yaml."""
    from ruamel.yaml import YAML

    folder = out / "project"
    folder.mkdir(parents=True)
    for name in ("records.py", "measure.py", "sentences.py"):
        shutil.copy(HERE / name, folder)
    yaml = YAML(typ="safe")
    params = merged(yaml.load(HERE / "params.yaml"), changes)
    model = str(HERE.parent / "models" / "real" / "smollm2-135m-instruct")
    params = merged(params, {"models": {"student": model}, "teacher": {"model": model}})
    params |= {"arms": {arm: params["arms"][arm] for arm in ARMS}, "ablations": {}}
    (folder / "params.yaml").write_text(json.dumps(params))  # JSON is YAML
    rates = HERE / "learning_rates.json"
    chosen = json.loads(rates.read_text()) if rates.exists() else {}
    given = {arm: chosen.get(arm) or params["train"]["lr"] for arm in params["arms"]}
    (folder / "learning_rates.json").write_text(json.dumps(given))
    return folder / "params.yaml"


def machine() -> dict[str, Any]:
    """The machine and the versions of what computes."""
    import torch
    import transformers

    from omniopd import __version__

    on_gpu = torch.cuda.is_available()
    return {
        "gpu": torch.cuda.get_device_name() if on_gpu else None,
        "memory_gib": round(torch.cuda.get_device_properties(0).total_memory / 2**30, 1) if on_gpu else None,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "omniopd": __version__,
    }


def one_arm(arm: str, params_file: Path) -> dict[str, Any]:
    """Distil, evaluate and measure an arm; its results, with seconds, tokens a second and GiB on the GPU."""
    import measure
    import torch

    from flows.distill import distill
    from flows.evaluate import evaluate
    from omniopd.data.layout import Layout
    from omniopd.data.records import Trajectory
    from omniopd.data.store import read_records

    started = time.monotonic()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    distill(arm=arm, seed=0, params_file=params_file)
    peak = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else None
    distilled = time.monotonic() - started
    evaluate(arm=arm, seed=0, params_file=params_file)
    measure.measure(arm, 0)
    files = Layout(params_file.parent).run(arm, 0)
    seconds: dict[str, list[float]] = {}
    for line in files.timings.read_text().splitlines():
        timing = json.loads(line)
        seconds.setdefault(timing["stage"], []).append(timing["seconds"])
    medians = {stage: sorted(values)[len(values) // 2] for stage, values in seconds.items()}
    rounds = sorted((files.root / "trajectories").glob("*.parquet"))
    num_tokens = [sum(len(row.response_ids) for row in read_records(path, Trajectory)) for path in rounds]
    return {
        "arm": arm,
        "measured": json.loads((measure.MEASURED / f"{arm}-0.json").read_text()),
        "before": json.loads((measure.MEASURED / f"{measure.BEFORE}-0.json").read_text()),
        "seconds to distil": round(distilled, 1),
        "seconds in all": round(time.monotonic() - started, 1),
        "median seconds a round": {stage: round(value, 3) for stage, value in medians.items()},
        "response tokens a round": round(sum(num_tokens) / len(num_tokens), 1),
        "peak GiB": None if peak is None else round(peak, 2),
    }


def main(*, tiny: bool) -> None:
    out = Path(os.environ["OUT"]).resolve()
    out.mkdir(parents=True, exist_ok=True)
    params_file = project(out, TINY if tiny else LARGE)
    os.chdir(params_file.parent)
    sys.path[:0] = [str(params_file.parent)]
    sys.argv[1:] = []
    import sentences

    sentences.main(40 if tiny else 4000)
    (out / "machine.json").write_text(json.dumps(machine(), indent=1))
    from flows.runtime.server import embedded_server, wait_until_ready

    slowest = 0.0
    with embedded_server(params_file.parent) as server:
        wait_until_ready(server)
        for arm in ARMS[:2] if tiny else ARMS:
            left = LIMIT_S - (time.monotonic() - STARTED)
            if left < 1.2 * slowest:
                print(
                    f"{max(left, 0):.0f} s are left, an arm took {slowest:.0f}: {arm} and those after it are left out"
                )
                break
            started = time.monotonic()
            result = one_arm(arm, params_file)
            slowest = max(slowest, time.monotonic() - started)
            with (out / "results.jsonl").open("a") as file:
                file.write(json.dumps(result) + "\n")
            print(json.dumps(result), flush=True)
            shutil.rmtree(params_file.parent / "runs" / f"{arm}-0" / "checkpoints")
    import measure

    measure.table()
    print(f"gpu-campaign took {time.monotonic() - STARTED:.0f} s")


if __name__ == "__main__":
    main(tiny="--tiny" in sys.argv[1:])
