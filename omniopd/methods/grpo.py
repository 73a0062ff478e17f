"""Group relative policy optimisation (arXiv 2402.03300): a grader's reward, and no teacher."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from omniopd import functional as F
from omniopd.data.rows import Columns, Row
from omniopd.functional import Score, TokenScores
from omniopd.methods.base import (
    Annotated,
    Method,
    Need,
    Plan,
    mean_and_spread,
    plain_row,
)


class GRPO(Method):
    """Clipped ratio times the reward, normalised over the responses to one prompt; optionally a KL to the reference."""

    takes_several_steps: ClassVar = True

    clip: float = Field(0.2, gt=0, lt=1, description="how far the ratio may leave 1")
    beta: float = Field(0.0, ge=0, description="weight of KL(student ‖ initial student)")

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"rewards", "reference"}) if self.beta else frozenset({"rewards"})

    def rows(self, annotated: Sequence[Annotated]) -> list[Row]:
        advantages = F.group_normalised(
            [_reward(item) for item in annotated], [item.trajectory.prompt_id for item in annotated]
        )
        return [
            plain_row(
                item.trajectory,
                advantage=[advantage] * len(item.trajectory.response_ids),
                old_logp=item.trajectory.logps,
            )
            for item, advantage in zip(annotated, advantages, strict=True)
        ]

    @property
    def scores(self) -> frozenset[Score]:
        return frozenset({"logp", "kl_to_ref"} if self.beta else {"logp"})

    def loss(self, scores: TokenScores, columns: Columns) -> dict[str, Tensor]:
        policy = F.clipped_ratio(
            scores["logp"], columns["old_logp"], advantage=columns["advantage"], clip=self.clip
        )
        kl = scores["kl_to_ref"].sum() if self.beta else torch.zeros_like(policy)
        return {"policy": policy, "kl": self.beta * kl}

    def metrics(self, annotated: Sequence[Annotated]) -> dict[str, float]:
        rewards = [_reward(item) for item in annotated]
        groups: dict[str, set[float]] = {}
        for item, reward in zip(annotated, rewards, strict=True):
            groups.setdefault(item.trajectory.prompt_id, set()).add(reward)
        num_equal = sum(len(values) == 1 for values in groups.values())
        return {**mean_and_spread("reward", rewards), "groups_without_signal": num_equal / len(groups)}

    def problems(self, plan: Plan) -> list[str]:
        problems = super().problems(plan)
        if plan.num_samples < 2:
            problems.append(
                f"rollout.num_samples is {plan.num_samples}, but a reward is compared with those of other "
                "responses to the same prompt; give the arm, for example, `rollout: { num_samples: 8 }`"
            )
        return problems


def _reward(item: Annotated) -> float:
    assert item.reward is not None, "the flow annotates what `needs` names"
    return item.reward
