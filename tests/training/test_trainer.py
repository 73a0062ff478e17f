"""One optimiser step, for every method: what it divides by, how it is split, and how it resumes."""

import copy
import hashlib
import json
import math

import pytest
import torch
from examples import METHODS, annotated, scaled, scores_of
from peft import PeftModel
from transformers import PreTrainedModel

from omniopd.config import Lora, Train
from omniopd.data.rows import collate
from omniopd.errors import ModelError, RunError
from omniopd.methods import GRPO, OPD, SFT, Method, OmniOPD
from omniopd.models.loading import load_model, weights_digest
from omniopd.models.scoring import head_of
from omniopd.training import parallel
from omniopd.training.checkpoints import (
    checkpoint_is_whole,
    load_optimizer,
    load_student,
    save_checkpoint,
    weights_md5,
)
from omniopd.training.trainer import Trainer

SETTINGS = Train(
    num_rounds=9, lr=1e-2, warmup_rounds=3, max_grad_norm=1e9, weight_decay=0.0, schedule="constant",
    steps_per_round=1, batch_size=8, batch_tokens=None, packing=False,
    precision="float32", gradient_checkpointing=False, lora=None, shard=False, checkpoint_every=1, validate_every=1,
)  # fmt: skip

each_method = pytest.mark.parametrize(
    "method", METHODS, ids=[f"{type(method).__name__}-{i}" for i, method in enumerate(METHODS)]
)


def trainer_of(model: PreTrainedModel, *, student: PreTrainedModel | None = None, **settings) -> Trainer:
    """A trainer of the student, or of a copy of the model, beside a reference and a teacher made of the model."""
    reference, teacher = (scaled(model, factor).float() for factor in (1.1, 0.8))
    return Trainer(
        student or copy.deepcopy(model),
        SETTINGS.model_copy(update=settings),
        reference=reference,
        teacher=teacher,
    )


@each_method
@pytest.mark.parametrize("batch_size", [1, 3])
def test_accumulation_equals_one_large_batch(model, method: Method, batch_size: int):
    rows = method.rows(annotated(method))
    whole, parts = trainer_of(model), trainer_of(model, batch_size=batch_size)
    reports = [trainer.step(rows, method) for trainer in (whole, parts)]

    assert reports[1]["grad_norm"] == pytest.approx(reports[0]["grad_norm"], rel=1e-5)
    assert reports[1]["loss"] == pytest.approx(reports[0]["loss"], rel=1e-4, abs=1e-5)
    for a, b in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, rtol=1e-4, atol=1e-6)


@each_method
def test_the_sums_of_a_step_are_divided_once_by_its_sequences(model, method: Method):
    rows = method.rows(annotated(method))
    once, twice = (trainer_of(model, batch_size=3).step(given, method) for given in (rows, rows * 2))
    student = scaled(model, 1.0)
    batch = collate(rows, pad_id=0)
    scores = scores_of(student, batch, method, reference=scaled(model, 1.1), teacher=scaled(model, 0.8))
    loss = sum(method.loss(scores, batch.columns).values())
    loss.backward()
    norm = torch.cat([parameter.grad.flatten() for parameter in student.parameters()]).norm().item()

    assert once["loss"] == pytest.approx(loss.item() / len(rows), rel=1e-3, abs=1e-4)
    assert once["grad_norm"] == pytest.approx(norm / len(rows), rel=1e-4)
    assert twice["grad_norm"] == pytest.approx(once["grad_norm"], rel=1e-5)


@each_method
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_checkpoint_resumes_bit_for_bit(model, tokenizer, tmp_path, method: Method, schedule: str):
    rows = method.rows(annotated(method))
    straight, halved = (trainer_of(model, schedule=schedule) for _ in range(2))
    for _ in range(4):
        straight.round(rows, method)
    for _ in range(2):
        halved.round(rows, method)
    path = tmp_path / "round-0002"
    save_checkpoint(path, halved, tokenizer, key="k")
    resumed = trainer_of(model, student=load_model(str(path)), schedule=schedule)
    load_optimizer(path, resumed)
    for _ in range(2):
        resumed.round(rows, method)
    for a, b in zip(straight.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)


WAYS = {
    "padded": {"batch_tokens": 20},
    "packed": {"packing": True},
    "packed within a budget": {"packing": True, "batch_tokens": 14},
    "recomputed": {"gradient_checkpointing": True},
}


@each_method
@pytest.mark.parametrize("settings", WAYS.values(), ids=WAYS)
def test_however_rows_are_batched_and_activations_kept_the_step_is_the_same(
    model, method: Method, settings: dict
):
    rows = method.rows(annotated(method))
    whole, other = trainer_of(model), trainer_of(model, **settings)
    reports = [trainer.step(rows, method) for trainer in (whole, other)]
    assert reports[1]["loss"] == pytest.approx(reports[0]["loss"], rel=1e-4, abs=1e-5)
    for a, b in zip(whole.model.parameters(), other.model.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, rtol=1e-4, atol=2e-6)


def test_bfloat16_is_near_float32_and_leaves_weights_and_moments_in_it(model, tokenizer, tmp_path):
    method = METHODS[5]
    rows = method.rows(annotated(method))
    exact = trainer_of(model)
    save_checkpoint(tmp_path / "c", exact, tokenizer, key="k")
    settings = SETTINGS.model_copy(update={"precision": "bfloat16"})
    student = load_student(str(tmp_path / "c"), str(tmp_path / "c"), settings, seed=0)
    assert head_of(student).dtype == torch.bfloat16
    trainer = trainer_of(model, student=student, precision="bfloat16")
    report, expected = trainer.step(rows, method), exact.step(rows, method)
    assert report["loss"] == pytest.approx(expected["loss"], rel=0.03)
    assert report["loss"] != expected["loss"]
    assert report["grad_norm"] == pytest.approx(expected["grad_norm"], rel=0.05)
    for parameter in student.parameters():
        assert parameter.dtype == parameter.grad.dtype == torch.float32
        assert trainer.optimizer.state[parameter]["exp_avg"].dtype == torch.float32


# --- adapters

LORA = Lora(rank=2, alpha=4.0, targets="all-linear")


@pytest.fixture
def base(model, tokenizer, tmp_path) -> str:
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    return str(tmp_path / "base")


def adapted(base: str, path: str | None = None, **settings) -> Trainer:
    settings = SETTINGS.model_copy(update={"lora": LORA, **settings})
    return Trainer(load_student(base, path or base, settings, seed=3), settings)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_with_an_adapter_the_student_is_its_own_reference_and_no_second_copy_is_held(base: str, precision):
    method = OmniOPD(num_chunks=2, num_replies=2, chunk_len=2, beta=0.3)
    rows = method.rows(annotated(method))
    trainer = adapted(base, precision=precision)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    reports = [trainer.round(rows, method) for _ in range(3)]
    assert reports[0]["anchor_kl"] == pytest.approx(0.0, abs=1e-6)
    assert reports[2]["anchor_kl"] > 1e-4
    moved = {
        name for name, value in trainer.model.state_dict().items() if not torch.equal(value, before[name])
    }
    assert moved
    assert all(".lora_" in name for name in moved)
    if precision == "float32":  # the same beside a copy of the base
        other = Trainer(
            load_student(base, base, SETTINGS.model_copy(update={"lora": LORA}), seed=3),
            SETTINGS.model_copy(update={"lora": LORA}),
            reference=load_model(base),
        )
        assert [other.round(rows, method)["loss"] for _ in range(3)] == pytest.approx(
            [r["loss"] for r in reports], rel=1e-5
        )


def test_an_adapter_is_saved_alone_and_resumes_bit_for_bit(base: str, tokenizer, tmp_path):
    method = SFT()
    rows = method.rows(annotated(method))
    straight, halved = adapted(base), adapted(base)
    for _ in range(4):
        straight.round(rows, method)
    for _ in range(2):
        halved.round(rows, method)
    path = tmp_path / "round-0002"
    save_checkpoint(path, halved, tokenizer, key="k", base="models/0/student")
    assert not (path / "model.safetensors").exists()
    assert (
        json.loads((path / "adapter_config.json").read_text())["base_model_name_or_path"]
        == "models/0/student"
    )
    assert weights_md5(path) == hashlib.md5((path / "adapter_model.safetensors").read_bytes()).hexdigest()
    resumed = adapted(base, str(path))
    assert (
        weights_digest(resumed.model) == weights_digest(halved.model) != weights_digest(adapted(base).model)
    )
    load_optimizer(path, resumed)
    for _ in range(2):
        resumed.round(rows, method)
    for (name, a), b in zip(straight.model.named_parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b), name


def test_a_saved_adapter_is_one_that_peft_reads(base: str, tokenizer, tmp_path):
    method = SFT()
    trainer = adapted(base)
    trainer.round(method.rows(annotated(method)), method)
    save_checkpoint(tmp_path / "c", trainer, tokenizer, key="k", base=base)
    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        logits = PeftModel.from_pretrained(load_model(base), tmp_path / "c").eval()(input_ids=ids).logits
        assert torch.allclose(logits, trainer.model(input_ids=ids).logits, atol=1e-6)


def test_layers_that_a_model_does_not_have_and_another_adapter_are_named(base: str, tokenizer, tmp_path):
    with pytest.raises(
        ModelError, match=r"train.lora.targets: query names no layer of Qwen3ForCausalLM; take some of"
    ):
        adapted(base, lora=Lora(rank=2, alpha=4.0, targets=["query"]))
    save_checkpoint(tmp_path / "c", adapted(base), tokenizer, key="k", base=base)
    with pytest.raises(ModelError, match="holds another adapter than train.lora describes"):
        adapted(base, str(tmp_path / "c"), lora=Lora(rank=2, alpha=4.0, targets=["q_proj"]))


def test_a_checkpoint_belongs_to_its_run_and_notices_damage(model, tokenizer, tmp_path):
    method = SFT()
    trainer = trainer_of(model)
    trainer.step(method.rows(annotated(method)), method)
    path = tmp_path / "round-0001"
    save_checkpoint(path, trainer, tokenizer, key="k")
    assert checkpoint_is_whole(path, key="k")
    assert not checkpoint_is_whole(path, key="other")
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")
    assert not checkpoint_is_whole(path, key="k")


def test_a_round_of_several_steps_takes_each_on_an_equal_part_of_the_rows(model):
    method = SFT()
    rows = method.rows(annotated(method))
    together, apart = trainer_of(model, steps_per_round=2), trainer_of(model, steps_per_round=2)
    report = together.round(rows, method)
    reports = [apart.step(rows[:2], method), apart.step(rows[2:], method)]

    assert together.num_steps == 2
    assert report["loss"] == pytest.approx((reports[0]["loss"] + reports[1]["loss"]) / 2)
    assert report["loss/nll"] == pytest.approx(report["loss"])
    for a, b in zip(together.model.parameters(), apart.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_second_step_of_a_round_has_a_ratio_to_the_probabilities_of_the_roll_out(model):
    """The clip, which does nothing on the first step, bounds the steps after it."""
    method, loose = GRPO(clip=1e-6), GRPO(clip=0.99)
    rows = method.rows(annotated(method))
    losses = {}
    for name, variant in (("tight", method), ("loose", loose)):
        trainer = trainer_of(model)
        trainer.step(rows, variant)
        losses[name] = trainer.step(rows, variant)["loss"]
    assert losses["tight"] > losses["loose"]


@pytest.mark.parametrize(
    ("schedule", "after"),
    [
        ("constant", [1.0] * 6),
        ("linear", [1 - i / 6 for i in range(6)]),
        ("cosine", [0.5 * (1 + math.cos(math.pi * i / 6)) for i in range(6)]),
    ],
)
@pytest.mark.parametrize("steps_per_round", [1, 2])
def test_the_learning_rate_warms_up_and_follows_its_schedule(
    model, schedule: str, after: list[float], steps_per_round: int
):
    method = SFT()
    rows = method.rows(annotated(method))
    trainer = trainer_of(model, schedule=schedule, steps_per_round=steps_per_round)
    rates = [trainer.step(rows[:1], method)["lr"] for _ in range(9 * steps_per_round)]

    assert rates[steps_per_round - 1 : 3 * steps_per_round : steps_per_round] == pytest.approx(
        [1e-2 / 3, 2e-2 / 3, 1e-2]
    )
    assert rates[3 * steps_per_round :: steps_per_round] == pytest.approx([1e-2 * share for share in after])


@pytest.mark.parametrize(("method", "need"), [(OmniOPD(chunk_len=1), "reference"), (OPD(), "teacher_logits")])
def test_a_trainer_without_what_the_method_needs_says_so(model, method: Method, need: str):
    with pytest.raises(ValueError, match=f"needs {need}, "):
        Trainer(model, SETTINGS).round([], method)


# --- numbers that are none


def broken(model: PreTrainedModel, value: float) -> PreTrainedModel:
    student = copy.deepcopy(model)
    with torch.no_grad():
        student.model.norm.weight[0] = value
    return student


@each_method
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_step_that_is_not_finite_is_not_taken(model, method: Method, value: float):
    student = broken(model, value)
    before = copy.deepcopy(student.state_dict())
    trainer = trainer_of(model, student=student, steps_per_round=2)
    trainer.num_steps = 5

    with pytest.raises(RunError) as caught:
        trainer.step(method.rows(annotated(method)), method)

    [line] = str(caught.value).splitlines()
    assert line.startswith("round 2, optimiser step 2 of 2: ")
    assert "not finite" in line
    assert "train.lr" in line
    assert trainer.num_steps == 5
    for name, weight in student.state_dict().items():
        assert torch.equal(weight.nan_to_num(7.0), before[name].nan_to_num(7.0))


def test_a_step_that_is_not_finite_in_one_process_is_taken_by_none(model, monkeypatch: pytest.MonkeyPatch):
    method = METHODS[0]
    trainer = trainer_of(model)
    before = copy.deepcopy(trainer.model.state_dict())

    def gathered(value):
        other = copy.deepcopy(value)
        other |= {name: math.nan for name in other if name.startswith("loss/")}
        return [value, other]

    monkeypatch.setattr(parallel, "gathered", gathered)
    with pytest.raises(RunError, match="loss"):
        trainer.step(method.rows(annotated(method)), method)
    assert all(torch.equal(weight, before[name]) for name, weight in trainer.model.state_dict().items())


def test_a_gradient_that_is_not_finite_is_not_followed(model):
    method, trainer = METHODS[0], trainer_of(model)
    trainer.model.model.norm.weight.register_hook(lambda gradient: gradient * math.inf)
    before = copy.deepcopy(trainer.model.state_dict())

    with pytest.raises(RunError, match="gradient norm is not finite"):
        trainer.step(method.rows(annotated(method)), method)
    assert all(torch.equal(weight, before[name]) for name, weight in trainer.model.state_dict().items())
