"""report: the page of a run, from the files in its folder, and the page of a comparison of evaluated runs."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from omniopd.data.layout import Layout
from omniopd.data.records import ItemResult, Reward, Trajectory, Verdict
from omniopd.data.store import read_json, read_records, write_atomic
from omniopd.errors import DataError, ModelError
from omniopd.garbage import uncollected
from omniopd.models.text import TextDecoder
from omniopd.report.page.comparison import Answered, comparison_page
from omniopd.report.page.run import run_page
from omniopd.report.page.story import AuditedTrajectory, RunStory
from omniopd.report.summary import Evaluated, Record, cells
from omniopd.rounds.alarms import WINDOW, begun
from omniopd.rounds.ledger import recorded_metrics, seconds_by_stage
from omniopd.rounds.reading import reading
from omniopd.rounds.run import Run

EVALUATE = "run `omniopd evaluate --arm ARM --seed SEED`"
MAX_NAMED = 8  # runs in a message


def write_report(run_dir: Path, out: Path | None = None) -> Path:
    """Write the page of a run, finished or not, and return its path: `out`, or by default below reports/.

    Raises:
        DataError: a file of the run is damaged.
    """
    with reading(run_dir) as run, uncollected():
        path = out or run.layout.report(run_dir.name)
        text = run_page(story_of(run))
    write_atomic(path, lambda partial: partial.write_text(text, encoding="utf-8"))
    return path


def write_comparison(
    run_dirs: Sequence[Path], *, against: str | None = None, out: Path | None = None
) -> Path:
    """Write the page that compares evaluated runs, and return its path: `out`, or by default below reports/.

    against: the arm that the others are compared with, paired over seeds.

    Raises:
        DataError: a run has not been evaluated, or by a version that kept no answers.
    """
    layouts = {run_dir.name: Layout(run_dir.parent.parent) for run_dir in run_dirs}
    records = {name: _evaluation(name, layout) for name, layout in layouts.items()}
    answered = [
        _answers(name, when, layout) for name, layout in layouts.items() for when in ("before", "after")
    ]
    table = cells(list(records.values()), against=against)
    text = comparison_page(records, answered, table, title=" and ".join(layouts))
    path = out or layouts[run_dirs[0].name].report("comparison")
    write_atomic(path, lambda partial: partial.write_text(text, encoding="utf-8"))
    return path


def _evaluation(name: str, layout: Layout) -> Record:
    path = layout.evaluations / f"{name}.json"
    if not path.is_file():
        raise DataError(f"{name}: is not evaluated ({path} does not exist); {EVALUATE} for its arm and seed")
    return read_json(path, like=Evaluated)


def _answers(name: str, when: str, layout: Layout) -> Answered:
    path = layout.answers(name, when, "greedy")
    if not path.is_file():
        raise DataError(f"{name}: its answers are not kept ({path} does not exist); {EVALUATE} again")
    return Answered(name, when, read_records(path, ItemResult))


def find_run(name: str, layout: Layout, *, seed: int) -> Path:
    """The folder of a run, given its path, its name, or its arm with the seed.

    Raises:
        DataError: there is no such run.
    """
    runs = layout.run("any", 0).root.parent
    for folder in (Path(name).absolute(), runs / name, layout.run(name, seed).root):
        if (folder / "config.json").is_file():
            return folder
    known = sorted(path.parent.name for path in runs.glob("*/config.json"))
    more = f" and {len(known) - MAX_NAMED} more" if len(known) > MAX_NAMED else ""
    listed = f"it holds {', '.join(known[:MAX_NAMED])}{more}" if known else "it holds none yet"
    raise DataError(
        f"{name}: no such run in {runs}; {listed}; give one of them, its path, or an arm with --seed"
    )


def story_of(run: Run) -> RunStory:
    """The contents of a run's page: its complete rounds, and their trajectories, which are read lazily."""
    rounds = recorded_metrics(run.files.root)
    return RunStory(
        name=run.files.root.name,
        key=run.key,
        config=run.config,
        inputs=read_json(run.files.config, "inputs")["inputs"],
        models=_models(run),
        rounds=rounds,
        seconds=seconds_by_stage(run),
        alarms=[
            (round(row["round"]), line)
            for n, row in enumerate(rounds)
            for line in begun(run.config.alarms, row, rounds[max(0, n - WINDOW) : n])
        ],
        trajectories=_trajectories(run, [round(row["round"]) for row in rounds]),
        decoder=_decoder(run),
    )


def _trajectories(run: Run, rounds: list[int]) -> Iterator[AuditedTrajectory]:
    """The trajectories of the rounds, with all their verdicts, failed ones included."""
    for round_ in rounds:
        if not run.files.trajectories(round_).exists():
            continue  # the last round only measures
        verdicts: dict[str, list[Verdict]] = defaultdict(list)
        if (path := run.files.verdicts(round_)).exists():
            for verdict in sorted(read_records(path, Verdict), key=lambda verdict: verdict.anchor):
                verdicts[verdict.trajectory_id].append(verdict)
        rewards = {}
        if (path := run.files.rewards(round_)).exists():
            rewards = {reward.id: reward for reward in read_records(path, Reward)}
        for trajectory in read_records(run.files.trajectories(round_), Trajectory):
            yield AuditedTrajectory(trajectory, verdicts[trajectory.id], rewards.get(trajectory.id))


def _models(run: Run) -> dict[str, str]:
    """The models' paths, relative to the folder of params.yaml; empty for a run that was moved elsewhere."""
    try:
        paths = {role: run.model_path(role) for role in ("student", "teacher")}
    except DataError:
        return {}
    return {role: path.removeprefix(f"{run.layout.root}/") for role, path in paths.items()}


def _decoder(run: Run) -> TextDecoder | None:
    """None where the tokenizer is missing, as for a run that was moved elsewhere."""
    try:
        return run.models.decoder
    except (DataError, ModelError):
        return None
