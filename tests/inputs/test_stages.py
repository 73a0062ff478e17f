"""resolved/: each stage of dvc.yaml depends on the settings that decide its outputs, and on no others."""

from pathlib import Path
from typing import Any

import pytest
from benchmark_files import write_capitals
from projects import REPOSITORY, Project, make_project
from ruamel.yaml import YAML

from omniopd import RESULTS_VERSION
from omniopd.config import load_params
from omniopd.data.layout import Layout
from omniopd.data.receipts import work_key
from omniopd.data.store import read_json
from omniopd.inputs import stages
from omniopd.inputs.stages import record, stage_settings, write_resolved


@pytest.fixture
def tiny(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project").edit(
        arms__swept={"method": "omniopd", "lr_of": "swept"}, ablations={"random": {"method": "omniopd"}}
    )


RUNS = {"distill-omniopd-0", "distill-omniopd-baseline-0", "distill-swept-0", "distill-random-0"}
SWEEPS = {"sweep-omniopd-100", "sweep-omniopd-baseline-100", "sweep-swept-100"}
CHANGES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "a setting of one arm": ({"arms.omniopd.settings": {"beta": 0.2}}, {"distill-omniopd-0", "sweep-omniopd-100"}),
    "the method of all arms": ({"methods.omniopd.beta": 0.2}, RUNS | SWEEPS),
    "a method that no arm has": ({"methods.grpo.clip": 0.3}, set()),
    "a rate that a sweep chooses": ({"train.lr": 3e-4}, {"distill-random-0"}),
    "the rates that are tried": ({"sweep.lrs": [0.001, 0.004]}, SWEEPS | {"rates"}),
    "the temperature of the teacher": ({"teacher.temperature": 0.5}, RUNS | SWEEPS),
    "the number of prompts": ({"prompts.num_train": 41}, RUNS | SWEEPS | {"prepare"}),
    "the demo's student": ({"models.demo.student.num_steps": 61}, RUNS | SWEEPS | {"base"}),
    "benchmarks": ({"benchmarks.suite": ["gsm8k"]}, {"evaluate"}),
    "whom arms are compared with": ({"comparison.against": "omniopd"}, {"compare"}),
    "what changes no result": (
        {"alarms.cut_share": 0.4, "tracking.experiment": "other", "rollout.num_shards": 2, "teacher.budget_usd": 1.0},
        set(),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("edits", "changed"), CHANGES.values(), ids=CHANGES)
def test_a_change_reaches_the_stages_whose_outputs_it_decides(
    tiny: Project, edits: dict[str, Any], changed: set[str]
):
    before = stage_settings(load_params(tiny.params_file), tiny.root)

    after = stage_settings(load_params(tiny.edit_paths(edits).params_file), tiny.root)

    assert (
        before.keys() == after.keys() == {"prepare", "base", "rates", "evaluate", "compare"} | RUNS | SWEEPS
    )
    assert {stage for stage in before if before[stage] != after[stage]} == changed


@pytest.mark.parametrize(
    ("changes", "is_measured_again"),
    [
        ({"template": "{prompt}?"}, True), ({"grader": "math", "response_pattern": None}, True),
        ({"sampling": {"max_new_tokens": 9}}, True), ({"source": "cities.jsonl"}, True),
        ({"about": "Capitals of the world.", "licence": "CC0", "expected_rows": 4}, False),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_a_benchmarks_file_is_part_of_the_settings_but_for_what_decides_no_score(
    tiny: Project, changes: dict[str, Any], is_measured_again: bool
):
    write_capitals(tiny.root, "bench/capitals.yaml")
    params = load_params(tiny.edit(benchmarks__suite=["bench/capitals.yaml"]).params_file)
    before = stage_settings(params, tiny.root)
    write_capitals(tiny.root, "bench/capitals.yaml", **changes)
    after = stage_settings(params, tiny.root)

    changed = {stage for stage in before if before[stage] != after[stage]}
    assert changed == ({"evaluate"} if is_measured_again else set())


def test_the_system_message_of_prompts_is_a_setting_of_benchmarks_without_one(tiny: Project):
    def system(**settings: Any) -> Any:
        params = load_params(tiny.edit(**settings).params_file)
        return stage_settings(params, tiny.root)["evaluate"].get("system")

    assert system() is None
    assert system(prompts__system="Be brief.") == "Be brief."
    assert system(benchmarks__system="") == ""


def test_files_of_runs_that_are_gone_are_removed(tiny: Project):
    layout = Layout(tiny.root)
    write_resolved(load_params(tiny.params_file), layout)
    first = {path.name: path.read_bytes() for path in layout.resolved.iterdir()}

    write_resolved(load_params(tiny.edit(ablations={}).params_file), layout)

    second = {path.name: path.read_bytes() for path in layout.resolved.iterdir()}
    assert first.keys() - second.keys() == {"distill-random-0.json"}
    changed = {name for name in second if first[name] != second[name]}
    assert changed == {"rates.json", "compare.json"}  # which know of every run


def test_a_run_is_named_by_what_its_file_holds(finished_project: Project, tmp_path: Path):
    params = load_params(finished_project.params_file)

    write_resolved(params, Layout(tmp_path))

    recorded = read_json(finished_project.run_dir() / "config.json")
    settings = read_json(tmp_path / "resolved" / "distill-omniopd-0.json")
    assert work_key(settings, recorded["inputs"], RESULTS_VERSION) == recorded["key"]


def test_every_file_that_the_pipeline_depends_on_is_written(tiny: Project):
    """For each stage of dvc.yaml and each of its runs."""
    params = load_params(tiny.params_file)
    pipeline = YAML(typ="safe", pure=True).load(REPOSITORY / "dvc.yaml")["stages"]
    seeds = {"prepare": [0], "sweep": params.sweep.seeds}
    wanted = set()
    for name, stage in pipeline.items():
        for path in stage.get("deps", ()):
            if path.startswith("resolved/"):
                for arm in params.ablations if name in ("ablate", "evaluate-ablation") else params.arms:
                    for seed in seeds.get(name, params.seeds):
                        filled = path.replace("${item.arm}", arm).replace("${item.seed}", str(seed))
                        wanted.add(filled.removeprefix("resolved/").removesuffix(".json"))

    assert wanted == stage_settings(params, tiny.root).keys()


def test_outputs_are_recorded_only_under_the_settings_that_params_yaml_still_gives(
    tiny: Project, monkeypatch: pytest.MonkeyPatch
):
    committed: list[list[str]] = []
    monkeypatch.setattr(stages, "is_recorded_here", lambda root: True)  # noqa: ARG005
    monkeypatch.setattr(stages, "commit", lambda root, names: committed.append(names))  # noqa: ARG005
    params, layout, names = load_params(tiny.params_file), Layout(tiny.root), ["base@0", "distill@omniopd-0"]

    assert record(params, layout, names) is None
    tiny.edit_paths({"arms.omniopd-baseline.settings.beta": 0.3})  # another run's
    assert record(params, layout, names) is None
    assert committed == [["resolve", *names]] * 2

    tiny.edit_paths({"arms.omniopd.settings": {"beta": 0.2}})
    sentence = record(params, layout, names)
    assert sentence is not None
    assert "distill@omniopd-0" in sentence
    assert "params.yaml" in sentence
    tiny.params_file.write_text("arms: [")
    assert record(params, layout, names) is not None
    assert len(committed) == 2
