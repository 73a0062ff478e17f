"""rollout.selection_entropy: engine: the scores that the sampler had as it wrote, beside the trainer's own."""

import fake_vllm
import pytest
from projects import Project, run_plain

from omniopd.data.decoding import Decoding
from omniopd.data.prompts import Prompt
from omniopd.data.records import Trajectory
from omniopd.data.store import read_records
from omniopd.models.chat import Chat
from omniopd.models.loading import weights_digest
from omniopd.rounds import steps as rounds
from omniopd.rounds.rollout import rollouts, scored
from omniopd.sampling.responses import writer_for
from omniopd.sampling.samplers import InProcessSampler, Sampler, Student, vllm_student
from omniopd.training.pretrain import save_model

PROMPTS = [Prompt(f"p{i}", "1" * (i % 3) + f"{i}+1=", None) for i in range(6)]
ROUNDING = 1e-5  # nats


def written(student: Student, sampler: Sampler, temperature: float = 1.0) -> list[Trajectory]:
    return rollouts(
        writer_for(student, sampler),
        PROMPTS,
        round_=0,
        num_samples=4,
        max_new_tokens=9,
        decoding=Decoding(temperature),
        seed=3,
    )


@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.0])
def test_in_process_they_are_the_trainers_to_rounding_whatever_the_temperature(model, tokenizer, temperature):
    student = Student(model, Chat(tokenizer), "w")
    sampled = written(student, InProcessSampler(student, batch_size=8, scores=True), temperature)
    plain = written(student, InProcessSampler(student, batch_size=8), temperature)
    assert [item.response_ids for item in sampled] == [item.response_ids for item in plain]
    assert len({len(item.response_ids) for item in sampled}) > 1, "some end before others"
    for sampler_item, item in zip(sampled, scored(student, plain, batch_size=8), strict=True):
        assert sampler_item.entropies == pytest.approx(item.entropies, abs=ROUNDING)
        assert sampler_item.logps == pytest.approx(item.logps, abs=ROUNDING)


@pytest.mark.parametrize("num_top", [20, 5])
def test_vllms_entropies_are_lower_bounds_and_exact_where_they_cover_the_vocabulary(
    model, tokenizer, tmp_path, monkeypatch, num_top: int
):
    save_model(tmp_path, model, tokenizer)
    student = Student(model, Chat(tokenizer), weights_digest(model))
    with fake_vllm.installed():
        monkeypatch.setattr(f"{vllm_student().__module__}.NUM_TOP", num_top)
        served = vllm_student()(str(tmp_path), batch_size=8, precision="float32", settings={}, scores=True)
        with served.synced_to(student) as sampler:
            sampled = written(student, sampler)
    assert len(tokenizer) < 20
    for sampler_item, item in zip(sampled, scored(student, sampled, batch_size=8), strict=True):
        assert sampler_item.logps == pytest.approx(item.logps, abs=ROUNDING)
        if num_top == 20:
            assert sampler_item.entropies == pytest.approx(item.entropies, abs=3 * ROUNDING)
        else:
            assert all(
                0.2 * exact < bound < exact
                for bound, exact in zip(sampler_item.entropies, item.entropies, strict=True)
            )


@pytest.fixture
def short(project: Project) -> Project:
    arms = {name: {"method": name} for name in ("omniopd", "sft")}
    return project.edit(train__num_rounds=2, arms=arms)


def trajectories(project: Project, arm: str) -> list[Trajectory]:
    return read_records(project.run_dir(arm) / "trajectories/round-0000.parquet", Trajectory)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["transformers", "vllm"])
def test_a_run_on_them_takes_no_forward_pass_for_scores(short: Project, monkeypatch, engine: str):
    run_plain(short.params_file)
    expected = trajectories(short, "omniopd")
    short.edit(rollout__selection_entropy="engine", rollout__engine=engine)
    monkeypatch.setattr(rounds, "scored", lambda *_, **__: pytest.fail("the trainer scored"))
    with fake_vllm.installed():
        run_plain(short.params_file)
    sampled = trajectories(short, "omniopd")
    assert len(list(short.run_dir().parent.glob("omniopd-0.replaced-*"))) == 1, "it is another run"
    assert [item.response_ids for item in sampled] == [item.response_ids for item in expected]
    for sampler_item, item in zip(sampled, expected, strict=True):
        assert sampler_item.entropies == pytest.approx(item.entropies, abs=3 * ROUNDING)
        assert sampler_item.logps == pytest.approx(item.logps, abs=ROUNDING)


@pytest.mark.slow
def test_what_the_teacher_wrote_is_scored_by_the_trainer_all_the_same(short: Project):
    run_plain(short.params_file, "sft")
    expected = trajectories(short, "sft")
    short.edit(rollout__selection_entropy="engine")
    run_plain(short.params_file, "sft")
    assert trajectories(short, "sft") == expected
    assert all(len(item.logps) == len(item.response_ids) > 0 for item in expected)
