"""The paths of all files, below the folder of params.yaml."""

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
        """The report of `prepare` on the source of the prompts; a built-in task has none."""
        return self.prompts(seed, "train").with_name("prepare-report.json")

    def models(self, seed: int) -> Path:
        """The folder of the models that `base` trained, and of models.json, which lists those in use."""
        return self.root / "models" / f"seed-{seed}"

    def named_model(self, name: str) -> str:
        """The path of a directory relative to params.yaml, or a hub name (owner/name) unchanged."""
        is_hub_name = name.count("/") == 1 and not name.startswith((".", "/"))
        path = self.root / name
        if self.root == Path() or (is_hub_name and not path.exists()):
            return name
        return str(path.absolute())

    def run(self, arm: str, seed: int, variant: str = "") -> "RunLayout":
        """The folder of one run; `variant` is the suffix of a run with overrides."""
        return RunLayout(self.root / "runs" / f"{arm}-{seed}{variant}")

    def folders_of(self, name: str) -> list[Path]:
        """The folders of a run by its name, newest first: the current one, replaced ones, its sweep and variants."""
        runs = self.root / "runs"
        variants = [path for kind in ("replaced", "lr", "with") for path in runs.glob(f"{name}.{kind}-*")]
        folders = filter(Path.is_dir, [runs / name, *variants])
        return sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True)

    def checkout(self, run_id: str) -> Path:
        """The files of an MLflow run that were checked out."""
        return self.root / "checkout" / run_id

    def reproduced(self, run_id: str) -> Path:
        """The project in which an MLflow run is reproduced."""
        return self.root / "reproduced" / run_id

    def sweep_run(self, arm: str, seed: int, lr: float) -> "RunLayout":
        """The folder of one run of a sweep."""
        return self.run(arm, seed, f".lr-{lr:g}")

    def sweep(self, arm: str, seed: int) -> Path:
        """The results of a sweep for one arm and seed; in git, so that a clone need not sweep."""
        return self.root / "sweeps" / f"{arm}-{seed}.json"

    def sweep_log(self, arm: str, seed: int) -> Path:
        """The detailed log of all runs of a sweep."""
        return self.root / "runs" / f"{arm}-{seed}.sweep.log"

    @property
    def learning_rates(self) -> Path:
        """The learning rate of each arm and ablation, null where no sweep gives it one; kept in git."""
        return self.root / "learning_rates.json"

    def evaluation(self, arm: str, seed: int, variant: str = "") -> Path:
        """The held-out accuracies of one run."""
        return self.evaluations / f"{arm}-{seed}{variant}.json"

    @property
    def evaluations(self) -> Path:
        """The folder of those of all runs."""
        return self.root / "metrics" / "evaluation"

    def heldout(self, arm: str, seed: int, variant: str = "") -> Path:
        """Only the accuracies, for `dvc metrics`, which shows no lists."""
        return self.root / "metrics" / "heldout" / f"{arm}-{seed}{variant}.json"

    def answers(self, name: str, when: str, how: str) -> Path:
        """The responses of a run's student to the held-out prompts, before or after the run, a row per prompt."""
        return self.root / "metrics" / "answers" / name / f"{when}-{how}.parquet"

    def benchmarks(self, name: str) -> Path:
        """The folder of benchmark results of a run, or of another model by a name made of its path."""
        return self.root / "metrics" / "benchmarks" / name

    def benchmark_work(self, key: str) -> Path:
        """The parts of a measurement, from which results are made; not tracked."""
        return self.root / ".cache" / "benchmarks" / key

    def benchmark_lock(self, key: str) -> Path:
        """The lock of the process that makes them."""
        return self.benchmark_work(f".{key}.lock")

    def samples(self, key: str) -> Path:
        """Samples that were drawn for a measurement; not tracked."""
        return self.root / ".cache" / "samples" / f"{key}.parquet"

    def report(self, name: str) -> Path:
        """The page of a run by the name of its folder, or of a comparison."""
        return self.root / "reports" / f"{name}.html"

    def export(self, name: str) -> Path:
        """The model of a run as others use it, by the name of the run's folder."""
        return self.root / "exports" / name

    def made(self, stage: str, seed: int) -> Path:
        """The receipt of `prepare` or `base`."""
        folder = {"prepare": self.prompts(seed, "train").parent, "base": self.models(seed)}[stage]
        return folder / "receipt.json"

    def making(self, seed: int) -> Path:
        """The lock of the process that makes the prompts or models of a seed."""
        return self.root / "data" / f".seed-{seed}.lock"

    @property
    def compared(self) -> "ComparisonLayout":
        """The comparison of all runs in params, which DVC versions."""
        return ComparisonLayout(self.root / "metrics", self.root / "plots")

    @property
    def compared_subset(self) -> "ComparisonLayout":
        """The latest comparison of some of them, which DVC does not version."""
        return ComparisonLayout(self.root / "metrics" / "subset", self.root / "metrics" / "subset" / "plots")

    def seconds(self, stage: str) -> Path:
        """The seconds that a stage last took; not tracked."""
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
        """The resolved settings and the digests of the inputs."""
        return self.root / "config.json"

    @property
    def metrics(self) -> Path:
        """One JSON object per round; a repeated run gives the same bytes."""
        return self.root / "metrics.jsonl"

    @property
    def timings(self) -> Path:
        """Seconds by stage; separate from the metrics, as they differ each time."""
        return self.root / "timings.jsonl"

    @property
    def log(self) -> Path:
        """The detailed log."""
        return self.root / "run.log"

    @property
    def teacher(self) -> Path:
        """How requests are sent to the API of a teacher, as its probe determined."""
        return self.root / "teacher.json"

    @property
    def work(self) -> Path:
        """Shards and receipts of the round in progress."""
        return self.root / "work"

    @property
    def lock(self) -> Path:
        """The lock of the one process that writes here; outside the folder, which may be renamed."""
        return self.root.with_name(f".{self.root.name}.lock")

    @property
    def datasets(self) -> list[Path]:
        """The folders with one file per round; those that a method does not use are empty."""
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
        """Written last: the round is complete if it exists and its digests match."""
        return self.root / "manifests" / f"round-{round_:04d}.json"

    def checkpoint(self, round_: int) -> Path:
        """The student and the optimiser before that round."""
        return self.root / "checkpoints" / f"round-{round_:04d}"

    def state(self, round_: int) -> Path:
        """The student and the optimiser before that round, for a process that continues from them."""
        return self.work / f"state-{round_:04d}"

    def receipt(self, round_: int, name: str) -> Path:
        """The receipt of a finished piece of a round."""
        return self.work / f"round-{round_:04d}" / f"{name}.json"

    def shard(self, round_: int, name: str) -> Path:
        """A piece of a round before it is merged."""
        return self.work / f"round-{round_:04d}" / f"{name}.parquet"
