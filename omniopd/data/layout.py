"""Where everything lies, below the folder that holds params.yaml."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """The folders of a project, one per seed or per (arm, seed).

    >>> Layout(Path(".")).run("omniopd", 0).trajectories(7).as_posix()
    'runs/omniopd-0/trajectories/round-0007.parquet'
    """

    root: Path

    @property
    def resolved(self) -> Path:
        """The settings that decide each stage's outputs, which dvc.yaml depends on."""
        return self.root / "resolved"

    def prompts(self, seed: int, split: str) -> Path:
        """JSONL of one split: train, validation, heldout, or the examples that `base` trains on."""
        return self.root / "data" / f"seed-{seed}" / f"{split}.jsonl"

    def prompt_report(self, seed: int) -> Path:
        """What `prepare` found in the source of the prompts; a built-in task has none."""
        return self.prompts(seed, "train").with_name("prepare-report.json")

    def models(self, seed: int) -> Path:
        """The folder of the models that `base` made, and of models.json, which names those in use."""
        return self.root / "models" / f"seed-{seed}"

    def named_model(self, name: str) -> str:
        """A directory beside params.yaml by its path, a hub name (owner/name) as it is."""
        is_hub_name = name.count("/") == 1 and not name.startswith((".", "/"))
        path = self.root / name
        if self.root == Path() or (is_hub_name and not path.exists()):
            return name
        return str(path.absolute())

    def run(self, arm: str, seed: int, variant: str = "") -> "RunLayout":
        """The folder of one run; `variant` stands behind the name of one that is no run of params.yaml as it is."""
        return RunLayout(self.root / "runs" / f"{arm}-{seed}{variant}")

    def folders_of(self, name: str) -> list[Path]:
        """The folders of a run of that name, newest first: the present one, those set aside, those beside it."""
        runs = self.root / "runs"
        beside = [path for kind in ("replaced", "lr", "with") for path in runs.glob(f"{name}.{kind}-*")]
        found = [runs / name, *beside]
        return sorted(filter(Path.is_dir, found), key=lambda path: path.stat().st_mtime, reverse=True)

    def checkout(self, run_id: str) -> Path:
        """What was checked out of a run of MLflow."""
        return self.root / "checkout" / run_id

    def reproduced(self, run_id: str) -> Path:
        """The project in which a run of MLflow is made again."""
        return self.root / "reproduced" / run_id

    def sweep_run(self, arm: str, seed: int, lr: float) -> "RunLayout":
        """The folder of one run of a sweep."""
        return self.run(arm, seed, f".lr-{lr:g}")

    def sweep(self, arm: str, seed: int) -> Path:
        """What the learning rates of a sweep came to, for one arm and seed."""
        return self.sweeps / f"{arm}-{seed}.json"

    def sweep_log(self, arm: str, seed: int) -> Path:
        """The log in detail of all the runs of a sweep."""
        return self.root / "runs" / f"{arm}-{seed}.sweep.log"

    @property
    def sweeps(self) -> Path:
        """The folder of the sweeps' results; kept in git, so that a clone need not sweep."""
        return self.root / "sweeps"

    @property
    def learning_rates(self) -> Path:
        """The learning rate of each arm and ablation, null where no sweep gives it one; kept in git."""
        return self.root / "learning_rates.json"

    def evaluation(self, arm: str, seed: int, variant: str = "") -> Path:
        """The held-out accuracies of one run."""
        return self.evaluations / f"{arm}-{seed}{variant}.json"

    @property
    def evaluations(self) -> Path:
        """The folder of those, by the names of the runs."""
        return self.root / "metrics" / "evaluation"

    def heldout(self, arm: str, seed: int, variant: str = "") -> Path:
        """The same accuracies alone, for `dvc metrics`: it shows no lists."""
        return self.root / "metrics" / "heldout" / f"{arm}-{seed}{variant}.json"

    def answers(self, name: str, when: str, how: str) -> Path:
        """The held-out prompts as the student of a run answered them, before or after it, a row a prompt."""
        return self.root / "metrics" / "answers" / name / f"{when}-{how}.parquet"

    def benchmarks(self, name: str) -> Path:
        """What benchmarks came to: of a run by its name, of another model by the name that its path gives."""
        return self.root / "metrics" / "benchmarks" / name

    def benchmark_work(self, key: str) -> Path:
        """The parts of a measurement; results are made of them, so they are not tracked."""
        return self.root / ".cache" / "benchmarks" / key

    def benchmark_lock(self, key: str) -> Path:
        """The lock of whoever makes them."""
        return self.benchmark_work(f".{key}.lock")

    def report(self, name: str) -> Path:
        """The page of a run by the name of its folder, or of a comparison."""
        return self.root / "reports" / f"{name}.html"

    def made(self, stage: str, seed: int) -> Path:
        """What `prepare` and `base` leave behind of their own making: what it was made from, and its digests."""
        folder = {"prepare": self.prompts(seed, "train").parent, "base": self.models(seed)}[stage]
        return folder / "receipt.json"

    def making(self, seed: int) -> Path:
        """The lock of whoever makes the prompts and the models of a seed."""
        return self.root / "data" / f".seed-{seed}.lock"

    @property
    def compared(self) -> "ComparisonLayout":
        """The comparison of all runs that params list, which DVC versions."""
        return ComparisonLayout(self.root / "metrics", self.root / "plots")

    @property
    def compared_subset(self) -> "ComparisonLayout":
        """The latest comparison of some of them, which DVC does not version."""
        return ComparisonLayout(self.root / "metrics" / "subset", self.root / "metrics" / "subset" / "plots")

    def seconds(self, stage: str) -> Path:
        """The seconds that a stage last took; of no use to any other stage, so not tracked."""
        return self.root / ".cache" / "seconds" / f"{stage}.json"


@dataclass(frozen=True)
class ComparisonLayout:
    """The files of a comparison; `plots` is the folder of the tables that `dvc plots show` draws."""

    root: Path
    plots: Path

    @property
    def records(self) -> Path:
        """One record per arm and seed."""
        return self.root / "comparison.json"

    @property
    def table(self) -> Path:
        """The arms over their seeds, for people."""
        return self.root / "comparison.md"


@dataclass(frozen=True)
class RunLayout:
    """The files of one run. What is under `work` is scratch; everything else is a result."""

    root: Path

    @property
    def config(self) -> Path:
        """The resolved settings and the digests of what went in."""
        return self.root / "config.json"

    @property
    def metrics(self) -> Path:
        """One JSON object a round; the same bytes whenever the run is repeated."""
        return self.root / "metrics.jsonl"

    @property
    def timings(self) -> Path:
        """Seconds by stage; never the same twice, and so kept apart from the metrics."""
        return self.root / "timings.jsonl"

    @property
    def log(self) -> Path:
        """The log in detail."""
        return self.root / "run.log"

    @property
    def teacher(self) -> Path:
        """How a teacher behind an API is asked, as its probe found."""
        return self.root / "teacher.json"

    @property
    def work(self) -> Path:
        """Shards and receipts of the round in progress."""
        return self.root / "work"

    @property
    def lock(self) -> Path:
        """Held by the one process that writes here; beside the folder, which may be set aside whole."""
        return self.root.with_name(f".{self.root.name}.lock")

    @property
    def datasets(self) -> list[Path]:
        """The folders of one file a round; a method that has no use for one leaves it empty."""
        return [path.parent for path in (self.trajectories(0), self.verdicts(0), self.rewards(0))]

    def trajectories(self, round_: int) -> Path:
        """The trajectories of a round."""
        return self.root / "trajectories" / f"round-{round_:04d}.parquet"

    def verdicts(self, round_: int) -> Path:
        """The verdicts of a round."""
        return self.root / "verdicts" / f"round-{round_:04d}.parquet"

    def rewards(self, round_: int) -> Path:
        """The rewards of a round."""
        return self.root / "rewards" / f"round-{round_:04d}.parquet"

    def manifest(self, round_: int) -> Path:
        """Written last: the round is complete when it exists and its digests hold."""
        return self.root / "manifests" / f"round-{round_:04d}.json"

    def checkpoint(self, round_: int) -> Path:
        """The student and the optimiser before that round."""
        return self.root / "checkpoints" / f"round-{round_:04d}"

    def state(self, round_: int) -> Path:
        """The student and the optimiser before that round, for the process that goes on from them."""
        return self.work / f"state-{round_:04d}"

    def receipt(self, round_: int, name: str) -> Path:
        """What a finished piece of a round leaves behind: its key and its files' digests."""
        return self.work / f"round-{round_:04d}" / f"{name}.json"

    def shard(self, round_: int, name: str) -> Path:
        """A piece of a round before it is merged."""
        return self.work / f"round-{round_:04d}" / f"{name}.parquet"
