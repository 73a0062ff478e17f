"""Whether memory and disk hold what the runs need."""

import io
import json
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from projects import Project
from rich.console import Console
from transformers import AutoModelForCausalLM, Qwen3Config

from omniopd.cli import steps as cli
from omniopd.config import Params, load_params
from omniopd.data.layout import Layout
from omniopd.errors import ConfigError, ModelError
from omniopd.preflight import fit
from omniopd.report.plan import memory_line, memory_table
from omniopd.training.memory import MASTER, Memory, size_of

STUDENT, TEACHER = (
    Qwen3Config(
        vocab_size=500, hidden_size=64, intermediate_size=128, num_hidden_layers=num_layers, num_attention_heads=2,
        num_key_value_heads=1, head_dim=32,
    )
    for num_layers in (2, 4)
)  # fmt: skip
ARMS = {
    "omniopd": {"method": "omniopd"},
    "sft": {"method": "sft"},
    "opd": {"method": "opd"},
    "grpo": {"method": "grpo", "rollout": {"num_prompts": 3, "num_samples": 4}, "settings": {"beta": 0.0}},
}


@pytest.fixture
def params(project: Project) -> Params:
    return load_params(project.edit(arms=ARMS).params_file)


def fits_of(params: Params) -> dict[str, fit.Fit]:
    return {one.arm: one for one in fit.fits(params, STUDENT, TEACHER, longest_prompt=10)}


def test_each_arm_holds_the_models_that_it_needs(params: Params):
    student, teacher = (size_of(config).num_parameters for config in (STUDENT, TEACHER))
    frozen = {arm: one.memory.frozen // MASTER for arm, one in fits_of(params).items()}
    assert frozen == {"omniopd": student + teacher, "sft": teacher, "opd": teacher, "grpo": 0}


def test_a_student_that_rolls_out_while_it_trains_is_in_memory_twice(project: Project):
    student = size_of(STUDENT).num_parameters
    fits = [
        fits_of(
            load_params(project.edit(arms=ARMS, rollout__overlap=overlap, compute__where=where).params_file)
        )
        for overlap, where in ((0, {}), (1, {}), (1, {"train": "process"}))
    ]
    alone, overlapping, in_process = (by_arm["grpo"].memory.frozen // MASTER for by_arm in fits)
    assert (alone, overlapping, in_process) == (0, student, 0)


def test_a_teacher_in_a_process_of_its_own_is_not_counted(project: Project):
    project.edit(arms=ARMS, compute__where={"verify": "process", "roll_out": "process"})
    frozen = {arm: one.memory.frozen for arm, one in fits_of(load_params(project.params_file)).items()}
    assert frozen["sft"] == 0
    assert frozen["omniopd"] == size_of(STUDENT).num_parameters * MASTER


def test_longer_sequences_and_larger_batches_take_more(params: Params, project: Project):
    plain = fits_of(params)["sft"].memory
    longer = fit.fits(params, STUDENT, TEACHER, longest_prompt=20, arms=["sft"])[0].memory
    project.edit(train__batch_size=4)
    smaller = fits_of(load_params(project.params_file))["sft"].memory
    assert smaller.activations < plain.activations < longer.activations


def test_how_a_step_is_trained_decides_what_it_takes(project: Project):
    project.edit(arms=ARMS, train__batch_size=12)
    plain = fits_of(load_params(project.params_file))["omniopd"].memory

    def with_(**settings: Any) -> Memory:
        copy = project.copied_to(project.root.with_name("-".join(settings)))
        return fits_of(load_params(copy.edit(**settings).params_file))["omniopd"].memory

    assert with_(train__gradient_checkpointing=True).activations < plain.activations
    halved = with_(train__precision="bfloat16")
    assert (halved.frozen * 2, halved.parameters) == (plain.frozen, plain.parameters)
    room_of_one = with_(train__batch_tokens=20)  # of sequences of up to 58
    assert room_of_one.activations == with_(train__batch_size=1).activations < plain.activations
    lora = {"rank": 4, "alpha": 8.0, "targets": ["q_proj"]}
    adapter = with_(train__lora=lora)
    assert adapter.gradients == 2 * 4 * (64 + 64) * MASTER  # of two layers A and B
    assert adapter.frozen == plain.frozen - size_of(STUDENT).num_parameters * MASTER  # its own reference
    several = with_(train__shard=True, compute__where={"train": "torchrun"}, compute__num_processes=2)
    assert several.moments == plain.moments // 2


def test_checkpoints_of_an_adapter_are_small(project: Project, with_free: Callable[[float], None]):
    with_free(1.0)
    params = load_params(
        project.edit(arms=ARMS, train__lora={"rank": 1, "alpha": 1.0, "targets": ["q_proj"]}).params_file
    )
    assert fit.disk_warnings(params, Layout(project.root), STUDENT) == []


def test_processes_without_gpus_share_the_machine(project: Project, monkeypatch: pytest.MonkeyPatch):
    project.edit(arms=ARMS, compute__where={"train": "torchrun"}, compute__num_processes=2)
    sft = fits_of(load_params(project.params_file))["sft"]
    assert sft.needed == 2 * sft.memory.peak
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert fits_of(load_params(project.params_file))["sft"].num_processes == 1


@pytest.mark.parametrize(
    ("free", "total", "has_error", "has_warning"),
    [(1.1, 2.0, False, False), (0.9, 2.0, False, True), (0.5, 0.8, False, True), (0.5, 0.7, True, False)],
)
def test_what_may_not_fit_is_a_warning_and_what_cannot_is_an_error(
    params: Params, free: float, total: float, has_error: bool, has_warning: bool
):
    most = fit.largest(list(fits_of(params).values()))
    where = fit.Room("this machine", round(free * most.needed), round(total * most.needed))

    errors, warnings = [], []
    try:
        warnings = fit.memory_warnings(most, where)
    except ConfigError as error:
        errors = [str(error)]

    assert (len(errors), len(warnings)) == (has_error, has_warning)
    for line in (*errors, *warnings):
        assert line.startswith("arms.")
        assert ": training takes about " in line
        assert line.endswith("or take a smaller model")


def test_the_room_is_that_of_the_machine_and_of_its_container(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(fit, "CGROUP", tmp_path / "memory.max")
    assert fit.room().total == psutil.virtual_memory().total
    (tmp_path / "memory.max").write_text("max\n")
    assert fit.room().total == psutil.virtual_memory().total
    (tmp_path / "memory.max").write_text("1000000\n")
    assert (fit.room().total, fit.room().free) == (1_000_000, 1_000_000)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda: (5, 7))
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "H100")
    assert fit.room() == fit.Room("the GPU (H100)", 5, 7)


@pytest.fixture
def with_free(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Leave so many checkpoints' bytes on the disk."""
    one = 3 * MASTER * size_of(STUDENT).num_parameters

    def leave(count: float) -> None:
        monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=round(count * one)))

    return leave


def test_checkpoints_to_come_are_counted_against_the_disk(
    params: Params, project: Project, with_free: Callable[[float], None]
):
    layout = Layout(project.root)  # 5 rounds, a checkpoint every 2: three for each of four arms
    with_free(12.5)
    assert fit.disk_warnings(params, layout, STUDENT) == []
    with_free(11.5)
    [warning] = fit.disk_warnings(params, layout, STUDENT)
    assert warning.startswith("train.checkpoint_every: 12 checkpoints of up to ")
    with_free(0.5)
    with pytest.raises(ConfigError, match="train.checkpoint_every: 12 checkpoints"):
        fit.disk_warnings(params, layout, STUDENT)


def test_existing_checkpoints_need_no_room(
    params: Params, project: Project, with_free: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
):
    layout = Layout(project.root)
    for arm in ARMS:
        for round_ in (2, 4, 5):
            layout.run(arm, 0).checkpoint(round_).mkdir(parents=True)
    with_free(0.5)
    monkeypatch.setattr(fit, "count_parameters", pytest.fail)
    assert fit.disk_warnings(params, layout, STUDENT) == []


# --- the plan


@pytest.mark.slow
def test_the_plan_has_a_row_of_memory_for_each_arm_and_says_whether_it_fits(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    project.edit(arms=ARMS)
    cli.plan(params=project.params_file, arm=None, seed=None, num_prompts=4, as_json=True)

    plan = json.loads(capsys.readouterr().out)

    assert {row["arm"] for row in plan["asked"]} >= {"omniopd", "sft"}
    memory = plan["memory"]
    assert [row["arm"] for row in memory["arms"]] == list(ARMS)
    assert memory["fits"] is True
    weights = AutoModelForCausalLM.from_pretrained(project.root / "models" / "seed-0" / "student")
    expected = sum(parameter.numel() for parameter in weights.parameters()) * MASTER
    assert {row["one_process"]["parameters"] for row in memory["arms"]} == {expected}

    cli.plan(params=project.params_file, arm=["grpo"], seed=None, num_prompts=4, as_json=False)
    text = capsys.readouterr().out
    assert re.search(r"grpo takes most, 0\.\d\d GiB: it fits in the [\d.]+ GiB that are free of ", text)

    monkeypatch.setattr(fit, "fits", lambda *_, **__: no_model("of a kind that is not known"))
    cli.plan(params=project.params_file, arm=["grpo"], seed=None, num_prompts=4, as_json=False)
    assert "warning: of a kind that is not known" in capsys.readouterr().err


def no_model(why: str) -> None:
    raise ModelError(why)


def test_the_table_of_memory_fits_a_terminal_of_80_columns(params: Params):
    memory = fit.as_json(list(fits_of(params).values()), fit.Room("the GPU (NVIDIA H100 80GB HBM3)", 10, 20))
    large = {"parameters": 123 * 2**30, "peak": 1234 * 2**30}
    for row in memory["arms"]:
        row["arm"] = row["arm"].ljust(20, "x")
        row["one_process"].update(dict.fromkeys(row["one_process"], 123 * 2**30) | large)
    console = Console(width=80, file=io.StringIO())

    console.print(memory_table(memory))

    text = console.file.getvalue()
    assert "…" not in text
    assert "1234" in text
    assert "does not fit in the 0.00 GiB that are free of the GPU (NVIDIA H100 80GB HBM3)" in memory_line(
        memory
    )
