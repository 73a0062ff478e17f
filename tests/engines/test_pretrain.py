"""The demo's models are trained to a running average of their weights."""

import pytest
import torch
from torch import Tensor

from omniopd.config import DemoModel
from omniopd.engines import pretrain
from omniopd.engines.pretrain import character_tokenizer, train_demo_model

SETTINGS = DemoModel(
    width=8, ffn_width=8, num_layers=1, num_heads=2, num_steps=5, batch_size=2, num_examples=2, lr=3e-3
)


def trained(num_steps: int) -> dict[str, Tensor]:
    model = train_demo_model(
        [("1+2=", "3;"), ("4+4=", "8")],
        character_tokenizer("0123456789+=;"),
        SETTINGS,
        seed=0,
        after_step=lambda _, step: step == num_steps,
    )
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_what_comes_back_is_the_running_average_of_the_weights(monkeypatch: pytest.MonkeyPatch):
    averages = [trained(num_steps) for num_steps in (1, 2, 3)]
    monkeypatch.setattr(pretrain, "AVERAGE_DECAY", 0.0)
    weights = [trained(num_steps) for num_steps in (1, 2, 3)]

    for name, first in weights[0].items():
        second = 0.9 * first + 0.1 * weights[1][name]
        assert torch.equal(averages[0][name], first)
        assert torch.allclose(averages[1][name], second)
        assert torch.allclose(averages[2][name], 0.9 * second + 0.1 * weights[2][name])
    assert not torch.allclose(averages[2]["lm_head.weight"], weights[2]["lm_head.weight"])
