"""The sweep: what is tried, what is chosen, and which runs take it."""

import json
from pathlib import Path
from typing import Any

import pytest
from projects import Project, digests, make_project, without_prefect

from flows.sweep import sweep, try_rate
from omniopd.config import load_params
from omniopd.data.layout import Layout
from omniopd.data.store import write_json
from omniopd.errors import ConfigError, DataError
from omniopd.rounds.start import start_run
from omniopd.rounds.sweep import choose_rates, chosen_rate, swept_lrs

ARMS: dict[str, Any] = {
    "swept": {"method": "omniopd", "lr_of": "swept"},
    "follower": {"method": "omniopd", "lr_of": "swept"},
    "own": {"method": "omniopd", "train": {"lr": 0.5}},
}
ABLATIONS: dict[str, Any] = {"random": {"method": "omniopd", "lr_of": "swept"}}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project").edit(
        arms=ARMS, ablations=ABLATIONS, sweep__seeds=[100, 101], sweep__lrs=[0.001, 0.002, 0.004]
    )


def record_trial(
    project: Project, seed: int, *accuracies: float, lrs: tuple[float, ...] = (0.001, 0.002, 0.004)
) -> None:
    """Write what a sweep came to."""
    tried = [{"lr": lr, "greedy": accuracy} for lr, accuracy in zip(lrs, accuracies, strict=True)]
    write_json(Layout(project.root).sweep("swept", seed), {"arm": "swept", "seed": seed, "tried": tried})


def choose(project: Project) -> tuple[dict[str, float | None], list[str]]:
    return choose_rates(load_params(project.params_file), Layout(project.root))


def test_only_an_arm_that_its_own_lr_of_names_is_swept(project: Project):
    params = load_params(project.params_file)

    assert swept_lrs(params, "swept") == [0.001, 0.002, 0.004]
    for arm in ("follower", "own", "random"):
        assert swept_lrs(params, arm) == []


def test_the_best_rate_on_average_is_chosen_and_taken_by_all_that_name_the_arm(project: Project):
    record_trial(project, 100, 0.5, 0.6, 0.9)
    record_trial(project, 101, 0.5, 0.8, 0.4)

    rates, warnings = choose(project)

    assert rates == {"swept": 0.002, "follower": 0.002, "own": None, "random": 0.002}
    assert warnings == []
    assert json.loads((project.root / "learning_rates.json").read_text()) == rates


def test_of_two_equal_rates_the_lower_is_chosen_and_the_edge_is_warned_of(project: Project):
    record_trial(project, 100, 0.7, 0.6, 0.7)
    record_trial(project, 101, 0.6, 0.6, 0.6)

    rates, warnings = choose(project)

    assert rates["swept"] == 0.001
    [warning] = warnings
    assert warning.startswith("swept: the best learning rate, 0.001, is at the edge")


def test_a_sweep_that_has_not_been_run_is_named(project: Project):
    record_trial(project, 100, 0.5, 0.6, 0.7)

    with pytest.raises(DataError, match=r"sweeps/swept-101\.json"):
        choose(project)
    assert not (project.root / "learning_rates.json").exists()


def test_a_sweep_of_other_rates_is_refused(project: Project):
    record_trial(project, 100, 0.5, 0.6, 0.7)
    record_trial(project, 101, 0.5, 0.6, lrs=(0.001, 0.002))

    with pytest.raises(DataError) as caught:
        choose(project)

    assert str(caught.value) == (
        f"{project.root}/sweeps/swept-101.json: tried other learning rates than params.yaml lists; "
        "run `dvc repro rates`"
    )


def test_a_run_takes_the_rate_that_was_chosen_or_says_how_to_have_one(project: Project):
    params, layout = load_params(project.params_file), Layout(project.root)
    assert chosen_rate(params, "own", layout) is None
    with pytest.raises(ConfigError) as caught:
        chosen_rate(params, "follower", layout)
    assert str(caught.value) == (
        f"{project.root}/learning_rates.json: has no learning rate for the arm follower; run `dvc repro rates`, "
        "or `omniopd rates` if DVC says that nothing changed, or give the arm train.lr in place of lr_of in params.yaml"
    )

    write_json(layout.learning_rates, {"follower": 0.002})

    assert chosen_rate(params, "follower", layout) == 0.002


def test_the_run_itself_takes_the_rate_that_was_chosen(base_project: Project, tmp_path: Path):
    project = base_project.copied_to(tmp_path / "copy").edit(arms=ARMS, ablations=ABLATIONS)
    params, layout = load_params(project.params_file), Layout(project.root)
    write_json(layout.learning_rates, {"swept": 0.002, "follower": 0.004, "own": None, "random": 0.008})

    for arm, lr in {"swept": 0.002, "follower": 0.004, "own": 0.5, "random": 0.008}.items():
        config = json.loads((start_run(params, arm, 0, layout) / "config.json").read_text())
        assert config["settings"]["train"]["lr"] == lr


def run_sweep(project: Project, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The sweep flow's own loop, without Prefect."""
    monkeypatch.setattr("flows.sweep.try_rate", try_rate.fn)
    with without_prefect():
        return sweep.fn(arm="swept", seed=0, params_file=project.params_file)


@pytest.mark.slow
def test_the_flow_tries_every_rate_and_records_the_accuracies(
    base_project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    project = base_project.copied_to(tmp_path / "copy")
    project.edit(arms=ARMS, sweep__seeds=[0], sweep__lrs=[0.001, 0.03], train__num_rounds=2)

    record = json.loads(run_sweep(project, monkeypatch).read_text())

    assert (record["arm"], record["seed"]) == ("swept", 0)
    for entry, lr in zip(record["tried"], [0.001, 0.03], strict=True):
        files = Layout(project.root).sweep_run("swept", 0, lr)
        settings = json.loads(files.config.read_text())["settings"]
        assert entry["lr"] == settings["train"]["lr"] == lr
        assert settings["tracking"]["experiment"] == "omniopd-sweep"
        last = json.loads(files.metrics.read_text().splitlines()[-1])
        assert entry["greedy"] == last["validation/greedy"]
    low, high = (
        digests(Layout(project.root).sweep_run("swept", 0, lr).root)[
            "checkpoints/round-0002/model.safetensors"
        ]
        for lr in (0.001, 0.03)
    )
    assert low != high


@pytest.mark.slow
def test_a_sweep_that_was_stopped_goes_on_where_it_was(
    base_project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    project = base_project.copied_to(tmp_path / "copy")
    project.edit(arms=ARMS, sweep__seeds=[0], sweep__lrs=[0.001, 0.03], train__num_rounds=2)
    first = run_sweep(project, monkeypatch).read_bytes()
    (project.root / "sweeps" / "swept-0.json").unlink()

    def never(*_: object) -> Path:
        raise AssertionError("a round that is complete is not run again")

    monkeypatch.setattr("flows.distill._one_round", never)

    assert run_sweep(project, monkeypatch).read_bytes() == first
