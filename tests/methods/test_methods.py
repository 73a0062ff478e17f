"""What holds for every method, and the special cases of each."""

import copy
from dataclasses import replace

import pytest
import torch

from omniopd.config import Train
from omniopd.data.records import Trajectory, Verdict
from omniopd.data.rows import Row, collate
from omniopd.engines.checkpoints import checkpoint_is_whole, load_optimizer, save_checkpoint
from omniopd.engines.trainer import Trainer
from omniopd.functional import forward_kl, token_logp
from omniopd.methods import Annotated, OmniOPD, TokenScores
from omniopd.models.loading import load_model
from omniopd.models.scoring import response_logits

METHODS = [
    OmniOPD(num_chunks=2, num_replies=2, chunk_len=2),
    OmniOPD(num_chunks=2, num_replies=2, chunk_len=2, baseline="batch", beta=0.3),
    OmniOPD(num_chunks=3, num_replies=2, chunk_len=1, alpha=0.0, selection="uniform", similarity="exact"),
]
SETTINGS = Train(
    num_rounds=9, lr=1e-2, warmup_rounds=3, max_grad_norm=1e9, weight_decay=0.0, batch_size=8,
    checkpoint_every=1, validate_every=1,
)  # fmt: skip


def _annotated(method: OmniOPD) -> list[Annotated]:
    rng = torch.Generator().manual_seed(5)
    items = []
    for i, length in enumerate((7, 3, 5, 1)):
        ids = torch.randint(14, (length,), generator=rng).tolist()
        values = torch.rand(length, generator=rng).tolist()
        trajectory = Trajectory(
            id=f"t{i}", round=0, prompt_id=f"p{i}", prompt="1+2=", prompt_ids=[1, 10, 2, 11][: 2 + i % 3],
            response="", response_ids=ids, finish_reason="stop", temperature=1.0, seed=i, student="w",
            entropies=values, logps=[-value for value in values],
        )  # fmt: skip
        verdicts = [
            Verdict(
                id=f"t{i}/{anchor}", trajectory_id=f"t{i}", anchor=anchor, chunk_len=method.chunk_len, chunk="1",
                teacher="t", mode="completion", num_replies=2, replies=["1", "2"], similarities=[1.0, 0.1 * i],
                k_sem=1 + 0.1 * i, pi_bar=0.3, seed=0, prompt_tokens=1, completion_tokens=2, cost_usd=0.0,
            )
            for anchor in method.anchors(trajectory)
        ]  # fmt: skip
        items.append(Annotated(trajectory, verdicts))
    return items


def _gradient(model, method: OmniOPD, rows: list[Row], *, pad_id: int = 0) -> tuple[float, torch.Tensor]:
    """Loss and gradient of all parameters, in float64."""
    student = copy.deepcopy(model).double()
    reference = copy.deepcopy(student)
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.mul_(1.1)
    batch = collate(rows, pad_id=pad_id)
    logits = response_logits(student, batch)
    kl = forward_kl(response_logits(reference, batch), logits)
    loss = sum(method.loss(TokenScores(token_logp(logits, batch.response_ids), kl), batch).values())
    loss.backward()
    return loss.item(), torch.cat([parameter.grad.flatten() for parameter in student.parameters()])


@pytest.mark.parametrize("method", METHODS)
def test_padding_and_the_order_of_a_batch_are_irrelevant_and_parts_add_up(model, method):
    rows = method.rows(_annotated(method))
    loss, gradient = _gradient(model, method, rows)
    for other in (_gradient(model, method, rows, pad_id=13), _gradient(model, method, rows[::-1])):
        assert other[0] == pytest.approx(loss, rel=1e-12)
        assert torch.allclose(other[1], gradient, rtol=0, atol=1e-12)
    parts = [_gradient(model, method, [row]) for row in rows]
    assert sum(part[0] for part in parts) == pytest.approx(loss, rel=1e-12)
    assert torch.allclose(sum(part[1] for part in parts), gradient, rtol=0, atol=1e-12)
    assert gradient.abs().max() > 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_the_loss_is_that_of_the_method_written_out(model, method):
    annotated = _annotated(method)
    student = copy.deepcopy(model).double()
    reference = copy.deepcopy(student)
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.mul_(1.1)
    targets = {
        v.id: (v.k_sem + method.alpha * v.pi_bar) / (2 + method.alpha) for a in annotated for v in a.verdicts
    }
    expected = 0.0
    for item in annotated:
        t = item.trajectory
        ids = torch.tensor([[*t.prompt_ids, *t.response_ids]])
        first = len(t.prompt_ids) - 1
        with torch.no_grad():
            p, q = (m(input_ids=ids).logits[0, first:-1].log_softmax(-1) for m in (student, reference))
        audited = {}
        for verdict in item.verdicts:
            weight = targets[verdict.id]
            if method.baseline == "batch":
                others = [targets[v.id] for a in annotated if a is not item for v in a.verdicts]
                weight -= sum(others) / len(others)
            audited |= {verdict.anchor + k: weight for k in range(method.chunk_len)}
        for position, token in enumerate(t.response_ids):
            if position in audited:
                expected -= audited[position] * p[position, token].item()
            else:
                expected += method.beta * (q[position].exp() * (q[position] - p[position])).sum().item()
    assert _gradient(model, method, method.rows(annotated))[0] == pytest.approx(
        expected, rel=1e-6
    )  # weights are float32


@pytest.mark.parametrize("method", METHODS)
def test_prompt_tokens_never_train(model, method):
    batch = collate(method.rows(_annotated(method)), pad_id=0)
    logits = model(input_ids=batch.input_ids).logits.detach().requires_grad_()
    picked = logits[torch.arange(len(logits))[:, None], batch.source]
    kl = forward_kl(picked.detach() * 1.3, picked)
    sum(method.loss(TokenScores(token_logp(picked, batch.response_ids), kl), batch).values()).backward()
    for i, item in enumerate(_annotated(method)):
        first = len(item.trajectory.prompt_ids) - 1
        length = len(item.trajectory.response_ids)
        assert logits.grad[i, :first].abs().sum() == 0
        assert logits.grad[i, first + length :].abs().sum() == 0
        assert logits.grad[i, first : first + length].abs().sum() > 0


def test_with_nothing_audited_the_loss_is_the_anchor_alone_and_every_metric_is_reported():
    method = METHODS[0]
    bare = [replace(item, verdicts=()) for item in _annotated(method)]
    batch = collate(method.rows(bare), pad_id=0)
    parts = method.loss(
        TokenScores(torch.ones(batch.response.shape), torch.ones(batch.response.shape)), batch
    )
    assert parts["reinforcement"] == 0
    assert parts["anchor"].item() == pytest.approx(0.1 * batch.response.sum().item())
    assert method.metrics(bare).keys() == method.metrics(_annotated(method)).keys()


def test_a_response_shorter_than_a_chunk_has_nothing_audited():
    method = METHODS[0]
    row = method.rows(_annotated(method))[-1]
    assert len(row.response_ids) == 1
    assert row.columns["audited"] == [False]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_accumulation_equals_one_large_batch(model, batch_size: int):
    method = METHODS[1]
    rows = method.rows(_annotated(method))
    norms = []
    for size in (8, batch_size):
        trainer = Trainer(copy.deepcopy(model), model, SETTINGS.model_copy(update={"batch_size": size}))
        norms.append(trainer.step(rows, method))
    assert norms[1].grad_norm == pytest.approx(norms[0].grad_norm, rel=1e-5)
    assert norms[1].loss == pytest.approx(norms[0].loss, rel=1e-5)
    assert norms[0].lr == pytest.approx(1e-2 / 3)


def test_the_sums_of_a_step_are_divided_once_by_its_sequences(model):
    """A step on every row twice has the gradient of a step on every row once; a sum over rows has twice that."""
    method = METHODS[0]
    rows = method.rows(_annotated(method))
    once, twice = (
        Trainer(copy.deepcopy(model), model, SETTINGS.model_copy(update={"batch_size": 3})).step(
            given, method
        )
        for given in (rows, rows * 2)
    )
    assert twice.grad_norm == pytest.approx(once.grad_norm, rel=1e-5)
    assert twice.loss == pytest.approx(once.loss, rel=1e-5)
    # And the size itself: the gradient's norm is that of the summed loss over the number of rows.
    student = copy.deepcopy(model)
    batch = collate(rows, pad_id=0)
    logits = response_logits(student, batch)
    kl = forward_kl(response_logits(model, batch), logits)
    sum(method.loss(TokenScores(token_logp(logits, batch.response_ids), kl), batch).values()).backward()
    norm = torch.cat([parameter.grad.flatten() for parameter in student.parameters()]).norm().item()
    assert once.grad_norm == pytest.approx(norm / len(rows), rel=1e-4)


def test_a_checkpoint_resumes_bit_for_bit_and_notices_damage(model, tokenizer, tmp_path):
    method = METHODS[0]
    rows = method.rows(_annotated(method))
    straight, halved = (Trainer(copy.deepcopy(model), model, SETTINGS) for _ in range(2))
    for _ in range(4):
        straight.step(rows, method)
    for _ in range(2):
        halved.step(rows, method)
    path = tmp_path / "round-0002"
    save_checkpoint(path, halved, tokenizer, key="k")
    assert checkpoint_is_whole(path, key="k")
    assert not checkpoint_is_whole(path, key="other")
    resumed = Trainer(load_model(str(path)), model, SETTINGS)
    load_optimizer(path, resumed)
    for _ in range(2):
        resumed.step(rows, method)
    for a, b in zip(straight.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")
    assert not checkpoint_is_whole(path, key="k")
