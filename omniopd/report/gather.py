"""report: the page of a run, gathered from the files of its folder, and that of a comparison of evaluated runs."""

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
from omniopd.report.page.story import Alarm, RunStory, Told
from omniopd.report.summary import Evaluated, Record, cells, summarise, token_budget
from omniopd.rounds.alarms import WINDOW, begun
from omniopd.rounds.ledger import recorded_metrics, seconds_by_stage
from omniopd.rounds.reading import reading
from omniopd.rounds.run import Run

EVALUATE = "`omniopd evaluate --arm ARM --seed SEED`"
MAX_NAMED = 8  # runs in a message


def write_report(run_dir: Path, out: Path | None = None) -> Path:
    """Write the page of a run as far as it has come, and return where it lies: `out`, or a place of its own.

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
    """Write the page that compares evaluated runs, and return where it lies: `out`, or a place of its own.

    against: the arm that the others are compared with, paired over seeds.

    Raises:
        DataError: one of them has not been evaluated, or by a version that kept no answers.
    """
    runs = {run_dir.name: _layout_of(run_dir) for run_dir in run_dirs}
    records = {name: _evaluation(name, layout) for name, layout in runs.items()}
    answered = [
        Answered(name, when, _answers(name, when, layout))
        for name, layout in runs.items()
        for when in ("before", "after")
    ]
    found = list(records.values())
    table = cells(
        summarise(found, against=against),
        against=against,
        budget=token_budget(found),
        num_prompts=found[0]["after"]["greedy"]["num_prompts"],
    )
    title = " and ".join(runs)
    text = comparison_page(records, answered, table, title=title)
    path = out or _layout_of(run_dirs[0]).report("comparison")
    write_atomic(path, lambda partial: partial.write_text(text, encoding="utf-8"))
    return path


def _layout_of(run_dir: Path) -> Layout:
    return Layout(run_dir.parent.parent)


def _evaluation(name: str, layout: Layout) -> Record:
    path = layout.evaluations / f"{name}.json"
    if not path.is_file():
        raise DataError(
            f"{name}: is not evaluated ({path} is not there); run {EVALUATE} for its arm and seed"
        )
    return read_json(path, like=Evaluated)


def _answers(name: str, when: str, layout: Layout) -> list[ItemResult]:
    path = layout.answers(name, when, "greedy")
    if not path.is_file():
        raise DataError(f"{name}: its answers are not kept ({path} is not there); run {EVALUATE} anew")
    return read_records(path, ItemResult)


def find_run(name: str, layout: Layout, *, seed: int) -> Path:
    """The folder of a run by its path, by its name, or by its arm and the seed.

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
        f"{name}: is no run of {runs}; {listed}; give one of them, its path, or an arm with --seed"
    )


def story_of(run: Run) -> RunStory:
    """What the page is told of a run: the rounds that are complete, and their trajectories as they are read."""
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
            Alarm(round(row["round"]), line)
            for n, row in enumerate(rounds)
            for line in begun(run.config.alarms, row, rounds[max(0, n - WINDOW) : n])
        ],
        told=_told(run, [round(row["round"]) for row in rounds]),
        decoder=_decoder(run),
    )


def _told(run: Run, rounds: list[int]) -> Iterator[Told]:
    """The trajectories of the rounds, with verdicts that failed and without; the last measurement has none."""
    for round_ in rounds:
        if not run.files.trajectories(round_).exists():
            continue
        verdicts: dict[str, list[Verdict]] = defaultdict(list)
        if (path := run.files.verdicts(round_)).exists():
            for verdict in read_records(path, Verdict):
                verdicts[verdict.trajectory_id].append(verdict)
        found = read_records(path, Reward) if (path := run.files.rewards(round_)).exists() else []
        rewards = {reward.id: reward for reward in found}
        for own in read_records(run.files.trajectories(round_), Trajectory):
            yield Told(own, sorted(verdicts[own.id], key=lambda one: one.anchor), rewards.get(own.id))


def _models(run: Run) -> dict[str, str]:
    """Where the models lie, from the folder of params.yaml; of a run that was taken elsewhere what its settings say."""
    try:
        paths = {role: run.model_path(role) for role in ("student", "teacher")}
    except DataError:
        return {}
    return {role: path.removeprefix(f"{run.layout.root}/") for role, path in paths.items()}


def _decoder(run: Run) -> TextDecoder | None:
    """None where the tokenizer is not there, as in a folder that was taken elsewhere."""
    try:
        return run.models.decoder
    except (DataError, ModelError):
        return None
