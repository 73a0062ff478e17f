"""A run with settings of its own lies beside the one of params.yaml, and leaves it alone."""

import pytest
from mlflow import MlflowClient
from projects import Project, digests, run_plain, without_prefect

from flows.distill import distill
from omniopd.config import load_params, parsed
from omniopd.config.overrides import nested
from omniopd.data.layout import Layout
from omniopd.errors import ConfigError
from omniopd.evaluation.evaluate import evaluate
from omniopd.tracking.archive import locate
from omniopd.tracking.lookup import Lookup
from omniopd.versions import Store


def _run(project: Project, overrides: dict):
    with without_prefect():
        return distill.fn("omniopd", 0, overrides, project.params_file)


@pytest.mark.slow
def test_its_results_are_those_of_the_settings_and_lie_beside_the_others(project: Project, tmp_path):
    twin = project.copied_to(tmp_path / "twin").edit(train__num_rounds=2, train__lr=1e-3)
    twin.edit_paths({"arms.omniopd.train": {"lr": 1e-3}})
    run_plain(twin.params_file)
    run_plain(project.params_file)
    before = digests(project.run_dir())
    project.edit(tracking__enabled=True, tracking__uri=f"sqlite:///{tmp_path / 'mlflow.db'}")

    overrides = {"train.num_rounds": 2, "arms.omniopd.train.lr": 1e-3}
    _run(project, overrides)

    [changed] = project.root.glob("runs/omniopd-0.with-*")
    results, expected = digests(changed), digests(twin.run_dir())
    assert {name for name in results if results[name] != expected.get(name)} <= {"config.json"}
    assert digests(project.run_dir()) == before
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    [run] = client.search_runs([client.get_experiment_by_name("omniopd").experiment_id])  # pyright: ignore
    assert run.data.tags["omniopd.overrides"] == '{"arms.omniopd.train.lr": 0.001, "train.num_rounds": 2}'

    record = evaluate("omniopd", 0, Layout(project.root), changed.name.removeprefix("omniopd-0"))
    assert record["lr"] == 1e-3
    assert not (project.root / "metrics" / "evaluation" / "omniopd-0.json").exists()


@pytest.mark.slow
def test_its_files_are_found_by_its_own_name_and_those_of_the_other_by_the_other(project: Project, tmp_path):
    project.edit(tracking__enabled=True, tracking__uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    run_plain(project.params_file)
    _run(project, {"train.num_rounds": 2, "train.lr": 1e-3, "arms.omniopd.train.lr": 1e-3})
    lookup = Lookup(load_params(project.params_file).tracking)
    [changed] = project.root.glob("runs/omniopd-0.with-*")
    _run(project, {"compute.timeout_s": 3600.0})  # decides no result: the key is that of the run without
    [same] = set(project.root.glob("runs/omniopd-0.with-*")) - {changed}
    for name, num_rounds in {"omniopd-0": 5, changed.name: 2, same.name: 5}.items():
        tracked = lookup.find(name)
        assert len(tracked.rounds) == num_rounds
        located = locate(tracked, Layout(project.root), Store(project.root))
        assert {place and place.kind for place in (file.place for file in located)} == {"workspace"}


@pytest.mark.slow
def test_what_the_runs_of_a_seed_share_is_made_of_params_yaml_as_it_is(project: Project):
    before = digests(project.root / "models")
    for overrides in (
        {"compute.num_threads": 2},
        {"rollout.max_new_tokens": 9},
        {"evaluation.batch_size": 2},
    ):
        _run(project, {"train.num_rounds": 1, **overrides})
    assert digests(project.root / "models") == before


def test_the_same_overrides_said_otherwise_are_the_same_run(project: Project):
    for overrides in ({"train.num_rounds": 1}, {"train": {"num_rounds": 1}}):
        _run(project, overrides)
    assert len(list(project.root.glob("runs/*/manifests"))) == 1


REFUSED = {
    "prompts.num_train": "overrides: prompts: all runs of a seed share",
    "teacher.model": "overrides: teacher.model: all runs of a seed share",
    "train.rounds": "train.rounds: unknown key; did you mean 'num_rounds'",
    "train.num_rounds.more": "train.num_rounds: ",
}


@pytest.mark.parametrize("path", REFUSED)
def test_what_cannot_be_otherwise_is_refused_in_a_sentence(project: Project, path: str):
    with pytest.raises(ConfigError, match=REFUSED[path]):
        load_params(project.params_file, {path: 3})


def test_texts_are_read_as_params_yaml_is():
    assert parsed(["train.lr=2e-4", "compute.where={train: process}", "teacher.base_url=null"]) == {
        "train.lr": 2e-4,
        "compute.where": {"train": "process"},
        "teacher.base_url": None,
    }
    assert nested({"train.lr": 0.1, "train": {"num_rounds": 5}}) == {"train": {"lr": 0.1, "num_rounds": 5}}
    for wrong in ("train.lr", "=3", "train.lr={"):
        with pytest.raises(ConfigError, match=r"--set .*write"):
            parsed([wrong])
