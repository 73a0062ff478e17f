"""Who writes the student's responses, and with which weights: vLLM's part is played by fake_vllm, on real weights."""

import copy
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fake_vllm
import pytest
import torch
from projects import Project, run_plain
from transformers import PreTrainedModel

from omniopd.data.decoding import Decoding
from omniopd.data.processes import name_of
from omniopd.data.prompts import Prompt
from omniopd.data.records import Trajectory
from omniopd.data.store import read_records
from omniopd.errors import ConfigError, RunError
from omniopd.models.chat import Chat
from omniopd.models.generation import Generation
from omniopd.models.loading import load_model, weights_digest
from omniopd.rounds.rollout import rollouts
from omniopd.sampling import weight_sync
from omniopd.sampling.responses import in_process, writer_for
from omniopd.sampling.samplers import InProcessSampler, Sample, Student, vllm_student
from omniopd.sampling.weight_sync import differing, weight_sum
from omniopd.training.pretrain import save_model

PROMPTS = [Prompt(f"p{i}", f"{i}+1=", None) for i in range(5)]
ASKED = {
    "round_": 0, "num_samples": 2, "max_new_tokens": 6, "decoding": Decoding(), "seed": 3,
}  # fmt: skip


class Deaf(fake_vllm.Worker):
    """Keeps the weights that it has, whatever it is given."""

    def reload_weights(self, weights_iterator) -> None:
        del weights_iterator


@pytest.fixture
def path(model, tokenizer, tmp_path) -> str:
    save_model(tmp_path / "student", model, tokenizer)
    return str(tmp_path / "student")


def student_of(model: PreTrainedModel, tokenizer) -> Student:
    return Student(model, Chat(tokenizer), weights_digest(model))


def moved(model: PreTrainedModel, *, seed: int) -> PreTrainedModel:
    """A copy as one optimiser step might leave it: every weight a little different."""
    other, rng = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in other.parameters():
            weight.add_(torch.randn(weight.shape, generator=rng) * 1e-4)
    return other


def responses(trajectories: list[Trajectory]) -> list[list[int]]:
    return [trajectory.response_ids for trajectory in trajectories]


# --- the protocol


def test_batches_change_no_response_and_every_response_names_its_weights(model, tokenizer):
    student = student_of(model, tokenizer)
    rounds = [rollouts(in_process(student, batch_size=size), PROMPTS, **ASKED) for size in (2, 4, 10)]
    assert responses(rounds[0]) == responses(rounds[1]) == responses(rounds[2])
    assert {trajectory.student for trajectory in rounds[0]} == {student.digest}
    assert len(rounds[0]) == 10


@pytest.mark.parametrize("written_by", ["0123456789abcdef", ""])
def test_a_response_of_other_weights_stops_the_round(model, tokenizer, written_by: str):
    student = student_of(model, tokenizer)

    class Stale(InProcessSampler):
        def sample(self, prompts, **settings):
            *fresh, [one, _] = super().sample(prompts, **settings)
            return [*fresh, [one, Sample(Generation([3], "length"), written_by)]]

    with pytest.raises(RunError) as caught:
        rollouts(writer_for(student, Stale(student, batch_size=10)), PROMPTS, **ASKED)
    for named in (
        "round 0: ",
        "'p4'",
        written_by or "unknown",
        student.digest,
        "rollout.engine: transformers",
    ):
        assert named in str(caught.value)


# --- sums of weights


def test_a_sum_is_that_of_the_parts_in_any_order_and_shape_and_padding_adds_nothing():
    parts = [torch.randn(5, 7), torch.randn(2, 7)]
    fused = torch.cat([*parts, torch.zeros(3, 7)]).T.contiguous().flip(0)
    for dtype in (torch.float32, torch.bfloat16):
        whole = sum(weight_sum(part, dtype) for part in parts) % 2**64
        assert weight_sum(fused, dtype) == whole
    assert weight_sum(torch.tensor([-0.0, 1.0]), torch.float32) == weight_sum(
        torch.tensor([1.0]), torch.float32
    )


def test_a_sum_tells_the_smallest_changes_also_where_they_are_opposite():
    weight = torch.randn(1000)
    up, down = torch.nextafter(weight, weight + 1), torch.nextafter(weight, weight - 1)
    changed = weight.clone()
    changed[3] = up[3]
    opposite = changed.clone()
    opposite[5] = down[5]
    assert len({weight_sum(item, torch.float32) for item in (weight, changed, opposite)}) == 3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_sum_tells_any_flipped_bit_of_a_value(dtype: torch.dtype):
    """Of every bfloat16, also read as float32: 2.0 and −2.0 once had the same sum."""
    patterns = torch.arange(2**16, dtype=torch.int32).to(torch.int16)
    values = patterns.view(torch.bfloat16)
    known = values.isfinite()
    sums = torch.tensor([weight_sum(value, dtype) % 2**63 for value in values])
    for bit in range(16):
        flipped = torch.arange(2**16) ^ (1 << bit)
        is_same = (sums == sums[flipped]) & known & known[flipped]
        assert not values[is_same].any(), f"bit {bit}: {values[is_same]}"  # 0 and −0 are the same value


FUSED = {"qkv_proj": ["q_proj", "k_proj", "v_proj"]}
EXPECTED = {
    "a.q_proj.weight": 2**64 - 1,
    "a.k_proj.weight": 10,
    "a.v_proj.weight": 4,
    "a.norm.weight": 5,
    "experts.0.up": 6,
    "experts.1.up": 7,
}


def test_weights_are_compared_fused_split_and_whole_and_names_of_the_engine_in_one_sum():
    def worker(**sums: int):
        named = {name.replace("__", "."): value for name, value in sums.items()}
        return {"sums": named, "fused": FUSED}

    whole = {"a__qkv_proj__weight": 13, "a__norm__weight": 5}
    assert differing(EXPECTED, [worker(**whole, experts__w13=13)]) == []
    split = [
        worker(a__qkv_proj__weight=2**64 - 8, a__norm__weight=5, experts__w13=3),
        worker(a__qkv_proj__weight=21, a__norm__weight=5, experts__w13=10),
    ]
    assert differing(EXPECTED, split) == []
    assert differing(EXPECTED, [worker(**{**whole, "a__qkv_proj__weight": 12}, experts__w13=13)]) == [
        "a.qkv_proj.weight"
    ]
    assert differing(EXPECTED, [worker(**whole, experts__w13=12)]) == ["experts.0.up", "experts.1.up"]
    assert differing(EXPECTED, [worker(**whole)]) == ["experts.0.up", "experts.1.up"]
    known = {name: value for name, value in EXPECTED.items() if name.startswith("a.")}
    assert differing(known, [worker(**whole, other=1)]) == ["a weight that the student does not have"]


# --- vLLM


def test_one_engine_takes_the_weights_of_every_round_and_writes_with_them(model, tokenizer, path):
    students = [
        student_of(version, tokenizer) for version in (model, *(moved(model, seed=i) for i in range(2)))
    ]
    with fake_vllm.installed() as engine:
        served = vllm_student()(
            path, batch_size=10, precision="float32", settings={"dtype": "float16", "max_model_len": 64}
        )
        for student in (*students, students[2]):
            with served.synced_to(student) as sampler:
                sampled = rollouts(writer_for(student, sampler), PROMPTS, **ASKED)
            expected = rollouts(in_process(student, batch_size=2), PROMPTS, **ASKED)
            assert sampled == expected
        served.close()
    [started] = engine.started
    taken = ["load_student", "reset_prefix_cache", "loaded_sums", "generate"]
    assert started.calls == ["end_with", *taken * 3, "loaded_sums", "generate", "shutdown"]
    assert started.settings["dtype"] == "float16"
    assert started.settings["max_num_seqs"] == 10


def test_an_engine_is_told_how_to_sample_and_where_to_stop(model, tokenizer, path):
    decoding = Decoding(temperature=2.0, top_p=0.8, top_k=9, min_p=0.01, stop=(";", "4"))
    student, asked = student_of(model, tokenizer), {**ASKED, "num_samples": 20, "decoding": decoding}
    with fake_vllm.installed():
        served = vllm_student()(path, batch_size=10, precision="float32", settings={"max_model_len": 64})
        with served.synced_to(student) as sampler:
            sampled = rollouts(writer_for(student, sampler), PROMPTS, **asked)
        served.close()
    expected = rollouts(in_process(student, batch_size=20), PROMPTS, **asked)

    assert sampled == expected
    ended = [item for item in sampled if item.finish_reason == "stop"]
    assert any(item.response_ids[-1] != Chat(tokenizer).end_id for item in ended)
    assert not any({";", "4"} & set(item.response) for item in sampled)


def test_an_engine_that_keeps_its_old_weights_stops_the_round(model, tokenizer, path):
    with fake_vllm.installed(worker=Deaf):
        served = vllm_student()(path, batch_size=10, precision="float32", settings={})
        with served.synced_to(student_of(model, tokenizer)):
            pass  # they are its first, and so need no taking
        student = student_of(moved(model, seed=1), tokenizer)
        with pytest.raises(RunError) as caught, served.synced_to(student):
            pytest.fail("it wrote")
    assert str(caught.value) == (
        f"rollout.engine: vllm was given the trainer's weights {student.digest} and holds others "
        "(model.embed_tokens.weight and 12 more); take what changes weights, such as quantization, out of "
        "rollout.engine_settings, or take transformers"
    )


def test_one_weight_that_was_not_taken_is_named(model, tokenizer, path):
    class Hard(fake_vllm.Worker):
        def reload_weights(self, weights_iterator) -> None:
            super().reload_weights(item for item in weights_iterator if item[0] != "model.norm.weight")

    student = student_of(moved(model, seed=1), tokenizer)
    with fake_vllm.installed(worker=Hard):
        served = vllm_student()(path, batch_size=10, precision="float32", settings={})
        with (
            pytest.raises(RunError, match=r"holds others \(model.norm.weight\); "),
            served.synced_to(student),
        ):
            pytest.fail("it wrote")


def test_an_engine_that_does_not_know_its_weights_stops_the_round(model, tokenizer, path):
    student = student_of(model, tokenizer)
    with fake_vllm.installed(update_weight_version=lambda *_: None):
        served = vllm_student()(path, batch_size=10, precision="float32", settings={})
        with pytest.raises(RunError, match="with weights default, and"), served.synced_to(student) as sampler:
            rollouts(writer_for(student, sampler), PROMPTS, **ASKED)


def test_shards_in_threads_take_turns_at_one_engine(model, tokenizer, path):
    student = student_of(model, tokenizer)

    def one_shard(index: int) -> list[Trajectory]:
        with served.synced_to(student) as sampler:
            return rollouts(writer_for(student, sampler), PROMPTS[index:][:1], **ASKED)

    with fake_vllm.installed() as engine:
        served = vllm_student()(path, batch_size=10, precision="float32", settings={})
        with ThreadPoolExecutor(5) as pool:
            shards = list(pool.map(one_shard, range(5)))
    whole = rollouts(in_process(student, batch_size=2), PROMPTS, **ASKED)
    assert [item for shard in shards for item in shard] == whole
    assert engine.started[0].calls[:3] == ["end_with", "load_student", "reset_prefix_cache"]
    assert engine.started[0].calls[3:] == ["loaded_sums", "generate"] * 5


def test_weights_that_a_killed_process_left_in_memory_are_removed(model, tmp_path, monkeypatch):
    monkeypatch.setattr(weight_sync, "SHARED_MEMORY", tmp_path)
    ended = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    left, others = (
        tmp_path / f"{weight_sync.FOLDER_PREFIX}.{name_of(pid)}.xyz" for pid in (ended.pid, os.getppid())
    )
    for folder in (left, others):
        folder.mkdir()
    ended.communicate()
    with weight_sync.exported(model) as folder:
        assert dict(weight_sync.saved_weights(folder)).keys() == model.state_dict().keys() - {
            "lm_head.weight"
        }
        assert sorted(tmp_path.iterdir()) == sorted([Path(folder), others])
    assert list(tmp_path.iterdir()) == [others]


@pytest.mark.parametrize("sleeps", [True, False])
def test_it_sleeps_between_rounds_where_the_setting_is_on(model, tokenizer, path, sleeps: bool):
    with fake_vllm.installed() as engine:
        served = vllm_student()(
            path, batch_size=10, precision="float32", settings={"enable_sleep_mode": True} if sleeps else {}
        )
        for version in (model, moved(model, seed=1)):
            with served.synced_to(student_of(version, tokenizer)):
                assert not engine.started[0].llm_engine.is_sleeping()
            assert engine.started[0].llm_engine.is_sleeping() is sleeps


def test_a_response_that_would_be_cut_short_is_refused(model, tokenizer, path):
    student = student_of(model, tokenizer)
    with fake_vllm.installed():
        served = vllm_student()(path, batch_size=10, precision="float32", settings={"max_model_len": 9})
        with pytest.raises(RunError) as caught, served.synced_to(student) as sampler:
            rollouts(writer_for(student, sampler), PROMPTS, **ASKED)
    assert str(caught.value) == (
        "rollout.engine_settings: max_model_len 9 is less than a prompt of 4 tokens and the rollout.max_new_tokens 6 "
        "after it; raise it"
    )


def test_settings_that_vllm_refuses_are_named(path):
    def refuse(*_, **settings):
        del settings["model"]
        raise TypeError(f"no such settings: {sorted(settings)[0]}\nand more")

    with fake_vllm.installed(__init__=refuse), pytest.raises(ConfigError) as caught:
        vllm_student()(path, batch_size=10, precision="float32", settings={"alien": 1})
    assert str(caught.value) == (
        "rollout.engine_settings: vLLM does not start with {'alien': 1} (no such settings: alien and more); fix them"
    )


# --- whole runs


@pytest.fixture
def short(project: Project) -> Project:
    return project.edit(rollout__engine="vllm", train__num_rounds=3, train__checkpoint_every=1)


def test_a_run_on_vllm_learns_from_the_weights_that_it_has(short: Project):
    with fake_vllm.installed() as engine:
        run_dir = run_plain(short.params_file).parent.parent
    [started] = engine.started
    assert started.calls.count("load_student") == 4  # the last for the validation at the end
    assert started.calls.count("generate") == 3 + 3  # rollouts, and validation before rounds 0, 2 and 3
    assert started.calls.count("shutdown") == 1
    for round_ in range(3):
        path = (
            short.root / "models/seed-0/student"
            if not round_
            else run_dir / f"checkpoints/round-{round_:04d}"
        )
        trajectories = read_records(run_dir / f"trajectories/round-{round_:04d}.parquet", Trajectory)
        assert {item.student for item in trajectories} == {weights_digest(load_model(str(path)))}


def test_a_run_on_stale_weights_stops_at_the_first_round_that_has_them(short: Project):
    with (
        fake_vllm.installed(worker=Deaf) as engine,
        pytest.raises(RunError, match="was given the trainer's weights [0-9a-f]{16} and holds others"),
    ):
        run_plain(short.params_file)
    assert engine.started[0].calls[-1] == "shutdown"
    assert (short.run_dir() / "manifests/round-0000.json").exists()
    assert not (short.run_dir() / "trajectories/round-0001.parquet").exists()


def test_an_engine_that_broke_is_not_asked_again(short: Project):
    def broken(*_, **__):
        raise RuntimeError("the engine's process is gone")

    with fake_vllm.installed(generate=broken) as engine, pytest.raises(RuntimeError, match="is gone"):
        run_plain(short.params_file)
    with fake_vllm.installed() as engine:
        run_plain(short.params_file)
    assert len(engine.started) == 1
