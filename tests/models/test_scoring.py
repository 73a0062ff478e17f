"""The trainer's forward pass over responses."""

import pytest
import torch

from omniopd.data.rows import Row
from omniopd.models.scoring import score


def test_scores_equal_a_plain_forward_pass(model):
    rows = [Row("a", [1, 10, 2, 11], [3, 12, 15]), Row("b", [4, 11], [8])]
    for row, (entropies, logps) in zip(rows, score(model, rows), strict=True):
        with torch.no_grad():
            z = (
                model(input_ids=torch.tensor([[*row.prompt_ids, *row.response_ids]]))
                .logits[0]
                .log_softmax(-1)
            )
        z = z[len(row.prompt_ids) - 1 : -1]
        assert logps == pytest.approx(
            [z[t, token].item() for t, token in enumerate(row.response_ids)], abs=1e-5
        )
        assert entropies == pytest.approx([-(row_.exp() * row_).sum().item() for row_ in z], abs=1e-5)
