"""Positions of responses, with models' hidden states. Axes: N positions, H hidden, V vocabulary."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Of the token written, or of the distribution that produced it, in nats; gradients flow to the student alone.
Score = Literal[
    "logp",  # log pi_theta of the token
    "entropy",
    "ref_kl",  # KL(reference ‖ student)
    "kl_to_ref",  # KL(student ‖ reference)
    "kl_to_teacher",  # KL(student ‖ teacher)
    "teacher_logp",  # log pi_teacher of the token, a constant
    "posterior_kl",  # KL(student ‖ q), q the posterior of the next token given votes, a constant
    "centred_fork",  # its centred form, see `functional.centred_fork`: of its value only the gradient means something
]
TokenScores = Mapping[Score, Float[Tensor, " N"]]


@dataclass(frozen=True, eq=False)
class Head:
    """How a model turns a hidden state into logits: softcap(scale · (weight · hidden + bias))."""

    weight: Tensor  # (V, H)
    bias: Tensor | None = None  # (V,)
    scale: float = 1.0
    softcap: float | None = None  # c · tanh(logit / c)
    dtype: torch.dtype | None = None  # of products; None: the weight's


@dataclass(frozen=True, eq=False)
class States:
    """A model's hidden states at N positions, and its head."""

    hidden: Tensor  # (N, H)
    head: Head


@dataclass(frozen=True, eq=False)
class Votes:
    """The tokens that a teacher wrote at each position, the first `counts` of K, and the strength of the prior."""

    ids: Int[Tensor, "N K"]
    counts: Int[Tensor, " N"]
    alpha: float


@dataclass(frozen=True, eq=False)
class Positions:
    """N positions, with all that their scores are computed from.

    Models of one vocabulary may pad it to different widths, so logits are compared up to the smallest.
    """

    student: States
    token_ids: Int[Tensor, " N"]
    reference: States | None = None
    teacher: States | None = None
    votes: Votes | None = None

    def __len__(self) -> int:
        return len(self.token_ids)

    @property
    def num_tokens(self) -> int:
        """V: the tokens that all models have."""
        models = (self.student, self.reference, self.teacher)
        return min(len(states.head.weight) for states in models if states is not None)
