"""The settings of one run: the blocks with the overrides of its arm."""

import json
from pathlib import Path
from typing import Any

import pytest
from params_files import edited

from omniopd.config import load_params, resolve, run_of
from omniopd.errors import ConfigError
from omniopd.methods import OmniOPD


def test_an_arm_overrides_what_it_names_and_nothing_else(tmp_path: Path):
    edits = {
        "arms.omniopd.settings": {"baseline": "batch", "num_replies": 1},
        "arms.omniopd.train": {"lr": 1.0e-3},
        "arms.omniopd.rollout": {"max_new_tokens": 40},
    }
    params = load_params(edited(tmp_path, edits))

    config = resolve(params, "omniopd", 3)

    assert (config.arm, config.seed, config.method_name) == ("omniopd", 3, "omniopd")
    block = params.methods.omniopd
    assert config.method == block.model_copy(update={"baseline": "batch", "num_replies": 1})
    assert config.train == params.train.model_copy(update={"lr": 1.0e-3})
    assert config.rollout == params.rollout.model_copy(update={"max_new_tokens": 40})
    for name in ("prompts", "models", "teacher", "evaluation", "compute", "tracking"):
        assert getattr(config, name) == getattr(params, name)


def test_an_arm_leaves_the_blocks_and_the_other_arms_as_they_were(tmp_path: Path):
    params = load_params(edited(tmp_path, {"arms.omniopd.settings": {"chunk_len": 5}}))
    before = params.model_dump()

    resolve(params, "omniopd", 0)

    assert params.model_dump() == before
    assert resolve(params, "omniopd-baseline", 0).method.audit(shares_tokens=True).chunk_len == 2


def test_a_setting_left_out_has_its_published_value(tmp_path: Path):
    path = edited(tmp_path, {"methods.omniopd": {"chunk_len": 2}})

    method = resolve(load_params(path), "omniopd", 0).method

    assert method == OmniOPD(
        num_chunks=10,
        num_replies=10,
        chunk_len=2,
        alpha=1.0,
        beta=0.1,
        similarity="edit",
        selection="peak_entropy",
        baseline="none",
    )


def test_an_arm_that_does_not_exist_is_refused_with_the_nearest(tmp_path: Path):
    params = load_params(edited(tmp_path, {}))

    with pytest.raises(ConfigError) as caught:
        resolve(params, "omniopd-basline", 0)
    assert str(caught.value) == (
        "params.yaml: arms.omniopd-basline: no such arm; did you mean 'omniopd-baseline'?"
    )
    with pytest.raises(ConfigError) as caught:
        resolve(params, "nope", 0, file="other.yaml")
    assert str(caught.value) == "other.yaml: arms.nope: no such arm; known are omniopd, omniopd-baseline"


def test_the_resolved_settings_are_plain_values_and_whole(tmp_path: Path):
    edits = {"arms.omniopd.train": {"lr": 1.0e-3}, "rollout.num_shards": 3, "tracking.experiment": "mine"}
    config = resolve(load_params(edited(tmp_path, edits)), "omniopd", 0)

    settings = config.model_dump()

    assert json.loads(json.dumps(settings)) == settings
    assert settings["method"]["chunk_len"] == 2
    assert settings["train"]["lr"] == 1.0e-3
    assert settings["rollout"]["num_shards"] == 3
    assert settings["tracking"]["experiment"] == "mine"


@pytest.mark.parametrize(
    ("edits", "named"),
    [
        ({"compute.where": {"roll_out": "process"}}, "compute.where.roll_out"),
        ({"compute.dask": "processes:2"}, "compute.dask"),
    ],
)
def test_an_engine_that_lives_for_the_run_cannot_be_in_other_processes(
    tmp_path: Path, edits: dict[str, Any], named: str
):
    with pytest.raises(ConfigError) as caught:
        load_params(edited(tmp_path, {"rollout.engine": "vllm", **edits}))

    [line, *_] = str(caught.value).splitlines()
    assert line.endswith(
        "arms.omniopd: rollout.engine vllm lives in the flow's process for the whole run, and "
        f"{named} samples rollouts in others; take {named} out of params.yaml, or take transformers"
    )
    load_params(edited(tmp_path, {"rollout.engine": "vllm", "compute.where": {"train": "process"}}))


def test_arm_and_seed_may_be_left_out(tmp_path: Path):
    one = {"arms": {"mine": {"method": "fork"}}, "ablations": {"less": {"method": "fork"}}}
    params = load_params(
        edited(tmp_path, {**one, "seeds": [3, 4], "ablation_seeds": [5], "comparison.against": None})
    )

    assert run_of(params, None, None, file="params.yaml") == ("mine", 3)
    assert run_of(params, None, 4, file="params.yaml") == ("mine", 4)
    assert run_of(params, "less", None, file="params.yaml") == ("less", 5)


def test_of_several_arms_one_must_be_chosen(tmp_path: Path):
    params = load_params(edited(tmp_path, {}))
    with pytest.raises(ConfigError, match=rf"x\.yaml: .*--arm: {', '.join(params.arms)}"):
        run_of(params, None, None, file="x.yaml")
