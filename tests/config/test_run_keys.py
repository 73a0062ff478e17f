"""The settings that enter the key of a run: those that decide its results."""

from pathlib import Path
from typing import Annotated, Any

import pytest
from params_files import edited, written
from projects import REPOSITORY

from omniopd.config import load_params, resolve
from omniopd.data.receipts import work_key
from omniopd.methods import OmniOPD
from omniopd.settings import Key

CHANGES_NOTHING = {
    "shards": {"rollout.num_shards": 2},
    "shards of the arm": {"arms.omniopd.rollout": {"num_shards": 2}},
    "what an engine that is not taken would be given": {"rollout.engine_settings": {"dtype": "bfloat16"}},
    "tracking off": {"tracking.enabled": False},
    "alarms": {"alarms.cut_share": None, "alarms.grad_norm": 2.0},
    "where tracking goes": {"tracking.uri": "sqlite:///other.db", "tracking.experiment": "other"},
    "a setting of another arm": {"arms.omniopd-baseline.settings": {"beta": 0.2}},
    "the setting that the arm has anyhow": {"arms.omniopd.settings": {"beta": 0.1}},
    "more seeds": {"seeds": [0, 1]},
    "one more arm": {"arms.third": {"method": "omniopd"}},
}


@pytest.mark.parametrize("edits", CHANGES_NOTHING.values(), ids=CHANGES_NOTHING)
def test_shards_tracking_alarms_and_other_arms_do_not_decide_the_results(
    tmp_path: Path, edits: dict[str, Any]
):
    before = resolve(load_params(edited(tmp_path, {})), "omniopd", 0)
    after = resolve(load_params(edited(tmp_path, edits)), "omniopd", 0)

    assert after.determining() == before.determining()


CHANGES_RESULTS = {
    "lr of the arm": {"arms.omniopd.train": {"lr": 1.0e-3}},
    "setting of the method": {"methods.omniopd.beta": 0.2},
    "setting of the arm": {"arms.omniopd.settings": {"alpha": 2.0}},
    "number of prompts": {"rollout.num_prompts": 64},
    "batch size, by rounding": {"rollout.batch_size": 64},
    "who writes the responses": {"rollout.engine": "vllm"},
    "whether responses are sampled during training": {"rollout.overlap": 1},
    "whose entropies choose": {"rollout.selection_entropy": "engine"},
    "threads, by rounding": {"compute.num_threads": 1},
    "temperature of the teacher": {"teacher.temperature": 0.5},
    "student": {"models.student": "elsewhere"},
    "source of prompts": {"prompts.source": "prompts.jsonl"},
}


def test_runs_from_before_samplers_had_scores_keep_their_keys(tmp_path: Path):
    config = resolve(load_params(edited(tmp_path, {})), "omniopd", 0)

    assert "selection_entropy" not in config.determining()["rollout"]


class WithMore(OmniOPD):
    """A method that got a setting after runs of it were made."""

    added: Annotated[float, Key.IF_CHANGED] = 0.5
    free: Annotated[int, Key.NEVER] = 1


def test_a_setting_that_is_added_changes_no_key_until_it_is_changed(tmp_path: Path):
    config = resolve(load_params(edited(tmp_path, {})), "omniopd", 0)

    def settings(**more: Any) -> dict[str, Any]:
        method = WithMore(**config.method.model_dump(), **more)
        return config.model_copy(update={"method": method}).determining()

    assert settings() == settings(added=0.5) == settings(free=2) == config.determining()
    assert settings(added=0.6)["method"] == config.determining()["method"] | {"added": 0.6}


def test_the_keys_of_earlier_runs_are_kept(tmp_path: Path):
    """Where this fails, a setting was added that enters every key: mark it Key.IF_CHANGED. Or a default changed."""
    params = load_params(written(tmp_path, "prompts: { source: addition }\narms: { a: { method: fork } }"))

    assert work_key(resolve(params, "a", 0).determining()) == "d434fa792da48675"


@pytest.mark.parametrize("edits", CHANGES_RESULTS.values(), ids=CHANGES_RESULTS)
def test_every_other_setting_decides_the_results(tmp_path: Path, edits: dict[str, Any]):
    before = resolve(load_params(edited(tmp_path, {})), "omniopd", 0)
    after = resolve(load_params(edited(tmp_path, edits)), "omniopd", 0)

    assert after.determining() != before.determining()


def test_what_the_engine_is_given_decides_the_results(tmp_path: Path):
    settings = [
        resolve(
            load_params(edited(tmp_path, {"rollout.engine": "vllm", **edits})), "omniopd", 0
        ).determining()
        for edits in ({}, {"rollout.engine_settings": {"dtype": "bfloat16"}}, {"rollout.num_shards": 2})
    ]

    assert settings[0] != settings[1]
    assert settings[0] == settings[2]


def test_the_seed_decides_the_results(tmp_path: Path):
    params = load_params(edited(tmp_path, {}))

    assert resolve(params, "omniopd", 0).determining() != resolve(params, "omniopd", 1).determining()


def test_determining_leaves_the_record_of_all_settings_whole(tmp_path: Path):
    config = resolve(load_params(edited(tmp_path, {})), "omniopd", 0)
    before = config.model_dump()

    config.determining()

    assert config.model_dump() == before


def test_a_release_changes_no_key():
    """Modules that make keys read RESULTS_VERSION, not the version of the package."""
    package = REPOSITORY / "omniopd"
    sources = {path.relative_to(package).as_posix(): path.read_text() for path in package.rglob("*.py")}
    makers = {name: source for name, source in sources.items() if "work_key(" in source}

    assert {"rounds/start.py", "inputs/base.py", "inputs/prepare.py", "evaluation/kept.py"} <= makers.keys()
    assert [name for name, source in makers.items() if "__version__" in source] == []
