"""`make bench`: what it puts side by side is the same work, and a figure of each kind comes out."""

import copy
import math
from pathlib import Path

import pytest
import torch

from benchmarks import loss, rollouts, step
from benchmarks.figure import Figure, in_turns
from omniopd.config import load_params
from omniopd.training.pretrain import character_tokenizer

SMALL = loss.Size(12, 8, 30, "cpu", torch.float32, slice_len=4)


def gradients(form: str, *, trains_head: bool) -> list[torch.Tensor]:
    inputs = loss.Inputs(SMALL, trains_head=trains_head)
    loss.FORMS[form](inputs)
    return [tensor.grad for tensor in (inputs.hidden, inputs.weight) if tensor.grad is not None]


@pytest.mark.parametrize("trains_head", [True, False])
@pytest.mark.parametrize("form", ["ours", "checkpointed", "trl"])
def test_every_form_of_the_loss_has_the_gradients_of_the_naive_one(form: str, trains_head: bool):
    expected = gradients("naive", trains_head=trains_head)
    assert len(expected) == 1 + trains_head

    computed = gradients(form, trains_head=trains_head)

    for gradient, right in zip(computed, expected, strict=True):
        largest = float(right.abs().max())
        assert largest > 0
        torch.testing.assert_close(gradient, right, atol=1e-3 * largest, rtol=0)


def test_the_floor_multiplies_what_the_gradient_of_the_head_needs():
    inputs = loss.Inputs(SMALL, trains_head=True)
    loss.products(inputs)
    hidden, weight = inputs.hidden.detach(), inputs.weight.detach()
    torch.testing.assert_close(inputs.gradient, (hidden @ weight.T).T @ hidden)


@pytest.fixture(scope="module")
def models():
    params = load_params(step.PARAMS)
    tokenizer = character_tokenizer("0123456789+=;>")
    student = step.digits_model(tokenizer, params.models.demo.student)
    teacher = step.digits_model(tokenizer, params.models.demo.teacher).requires_grad_(False)
    step.never_ending(tokenizer, student, teacher)
    return params, tokenizer, student, teacher


PROMPTS = ["1234+5678=", "0101+0202=", "9999+1111="]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # TRL's own
def test_a_step_of_both_trains_on_responses_of_their_full_length(models, tmp_path: Path):
    params, tokenizer, student, teacher = models
    ours = step.Ours(params, copy.deepcopy(student), teacher, tokenizer, PROMPTS)
    theirs = step.Trl(copy.deepcopy(student), copy.deepcopy(teacher), tokenizer, PROMPTS, tmp_path)
    ours.generate()
    written = {len(item.response_ids) for item in ours._written}
    generate, of_trl = theirs._trainer._generate, []

    def recorded(prompts: list):
        generated = generate(prompts)
        of_trl.extend(map(len, generated[1]))
        return generated

    theirs._trainer._generate = recorded
    before = copy.deepcopy(student.state_dict())

    assert ours.train() == theirs.step() == len(PROMPTS)

    assert written == {step.RESPONSE_LEN}
    assert of_trl == [step.RESPONSE_LEN] * len(PROMPTS)
    for moved in (ours.trainer.model, theirs._trainer.model):
        assert any(not torch.equal(value, before[name]) for name, value in moved.state_dict().items())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_step_of_both_has_the_gradient_of_one_loss(models, tmp_path: Path):
    params, tokenizer, student, teacher = models
    ours = step.Ours(params, copy.deepcopy(student), teacher, tokenizer, PROMPTS)
    theirs = step.Trl(copy.deepcopy(student), copy.deepcopy(teacher), tokenizer, PROMPTS, tmp_path)
    written = {tuple(item.prompt_ids): item.response_ids for item in ours._written}

    def same(prompts: list) -> tuple:
        ids = [tokenizer(prompt)["input_ids"] for prompt in prompts]
        return ids, [written[tuple(prompt)] for prompt in ids], None, None, None

    theirs._trainer._generate = same
    theirs._trainer.optimizer.zero_grad = lambda: None
    ours.train()
    theirs.step()

    ours, trls = (
        torch.cat([weight.grad.flatten() for weight in model.parameters()])
        for model in (ours.trainer.model, theirs._trainer.model)
    )
    # Each clips it to a norm of its own.
    assert torch.cosine_similarity(ours, trls, dim=0) > 0.9999
    assert ours.norm() > 1e-3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_figures_of_a_step_and_of_rollouts_are_numbers(monkeypatch: pytest.MonkeyPatch):
    for module in (step, rollouts):  # other tests run beside these
        monkeypatch.setattr(module, "use_threads", lambda _: None)
    figures = [*step.figures(num=2, rounds=1), *rollouts.figures(num=2, rounds=1)]
    assert len(figures) >= 7
    for figure in figures:
        assert math.isfinite(figure.ours), figure
        assert figure.ours > 0
        assert bool(figure.beside) == (figure.theirs > 0)


def test_works_take_turns_and_the_first_round_is_left_out(monkeypatch: pytest.MonkeyPatch):
    now, called = [0.0], []
    monkeypatch.setattr("benchmarks.figure.time.perf_counter", lambda: now[0])

    def work(name: str, seconds: list[float]):
        def done() -> int:
            called.append(name)
            now[0] += seconds.pop(0)
            return 6

        return done

    rates = in_turns({"slow": work("slow", [60, 2, 3, 6]), "fast": work("fast", [1, 1, 1, 1])}, rounds=3)

    assert called == ["slow", "fast"] * 4
    assert rates == {"slow": 2.0, "fast": 6.0}
    assert Figure("x", "1/s", rates["fast"], "slow", rates["slow"]).ratio == 3.0
