"""Sheets: the buffers in which slices of positions are processed, from logits to the gradient, in place.

Axes: n positions of a slice, V vocabulary, K votes. The student's sheet goes from logits to probabilities p, another
model's sheet from its logits to its probabilities r or to logarithms of ratios, and then the student's to the gradient

    d loss / d logits = a · p − f · r + p · (g · log(p / q) − e · log p + c · w(p)) + terms of single tokens,

where a, f, g, e and c are one number per position, from the derivatives of the loss with respect to its scores, and w
is `vote_weight`.
"""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.linalg import vecdot

from omniopd.functional.forks import Centre, Centred, Voted, voted
from omniopd.functional.positions import Positions, Score

REVERSE: dict[str, Score] = {"reference": "kl_to_ref", "teacher": "kl_to_teacher"}
SHEET_ELEMENTS = 256 * 151_936  # of the logits of a slice: 148 MiB in float32
GPU_SHEET = 4  # times as many on a GPU, where launching kernels would take longer than running them
READS: dict[str, frozenset[Score]] = {  # the scores that need another model's logits
    "reference": frozenset({"ref_kl", "kl_to_ref"}),
    "teacher": frozenset({"kl_to_teacher", "teacher_logp"}),
}
VOTED: frozenset[Score] = frozenset({"posterior_kl", "centred_fork"})  # the scores that need votes
CAST_ROWS = 8192  # of a head's gradient, added at once where products are less exact than sums
# Of a block of rows: on a CPU it fits into the caches; on a GPU it is used without Triton.
BLOCK_ELEMENTS = {"cpu": 4 * 151_936, "cuda": 64 * 151_936}


def num_sheets(wanted: Set[Score]) -> int:
    """The number of sheets for the scores, without a softcap."""
    return 1 + sum(bool(scores & wanted) for scores in READS.values()) + (wanted >= READS["reference"])


def sheet_bytes(
    wanted: Set[Score], *, num_positions: int, vocab_size: int, compute_bytes: int, on_gpu: bool
) -> int:
    """The bytes of the sheets, without a softcap; compute_bytes: bytes per element of the products' dtype."""
    elements, size = (GPU_SHEET * SHEET_ELEMENTS, compute_bytes) if on_gpu else (SHEET_ELEMENTS, 4)
    rows = min(num_positions, max(1, elements // vocab_size))
    return num_sheets(wanted) * rows * vocab_size * size


@dataclass(eq=False)
class Slopes:
    """Gradients of the loss, filled slice by slice; None where none is needed."""

    hidden: Tensor | None
    weight: Tensor | None  # uninitialised until the first slice: it can be the largest tensor
    bias: Tensor | None
    begun: bool = False

    def add_to_weight(self, gradient: Tensor, hidden: Tensor) -> None:
        """Add (n, V)ᵀ · (n, H)."""
        assert self.weight is not None
        size = gradient.shape[1]
        if not self.begun:
            self.weight[size:].zero_()
        weight = self.weight[:size]
        if gradient.dtype == weight.dtype:
            weight.addmm_(gradient.T, hidden) if self.begun else torch.mm(gradient.T, hidden, out=weight)
        elif gradient.is_cuda:  # where sums can be more exact than products
            if self.begun:
                torch.addmm(weight, gradient.T, hidden, out_dtype=weight.dtype, out=weight)
            else:
                torch.mm(gradient.T, hidden, out_dtype=weight.dtype, out=weight)
        else:
            for first in range(0, size, CAST_ROWS):
                rows = slice(first, min(first + CAST_ROWS, size))
                product = (gradient[:, rows].T @ hidden).to(self.weight.dtype)
                self.weight[rows].add_(product) if self.begun else self.weight[rows].copy_(product)
        self.begun = True

    def finish(self) -> None:
        """Set the weight's gradient to 0 if nothing was added."""
        if self.weight is not None and not self.begun:
            self.weight.zero_()


class Sheets:
    """Computes scores and gradients of slices with torch's operations."""

    elements = SHEET_ELEMENTS

    def __init__(self, positions: Positions, wanted: Set[Score], slice_len: int | None):
        self.positions = positions
        self.wanted = frozenset(wanted)
        hidden = positions.student.hidden
        self._size = positions.num_tokens
        self._slice_len = min(len(positions), slice_len or max(1, self.elements // self._size))
        self.dtype = torch.promote_types(hidden.dtype, torch.float32)
        self._device = hidden.device
        elements = BLOCK_ELEMENTS.get(hidden.device.type, SHEET_ELEMENTS)
        self._block_rows = min(self._slice_len, max(1, elements // self._size))
        others = {"reference": positions.reference, "teacher": positions.teacher}
        self._others = {
            name: states for name, states in others.items() if states is not None and READS[name] & wanted
        }
        self._states = {"student": positions.student, **self._others}
        self._weights = self._cast_weights()
        self._votes: Voted | None = None
        self._centred: Centred | None = None
        self._allocate()

    def _allocate(self) -> None:
        self._sheet = self._empty(self._slice_len)
        self._other_sheets = {name: self._empty(self._slice_len) for name in self._others}
        if self.wanted >= READS["reference"]:  # r and log(p / r) at once
            self._other_sheets["r"] = self._empty(self._slice_len)
        self._capped = self._empty(self._slice_len) if self.positions.student.head.softcap else None
        self._blocks = self._empty(self._block_rows), self._empty(self._block_rows)

    def _empty(self, num_rows: int, dtype: torch.dtype | None = None) -> Tensor:
        return torch.empty((num_rows, self._size), dtype=dtype or self.dtype, device=self._device)

    def _cast_weights(self) -> dict[str, Tensor]:
        """The heads' weights in the dtype of products; one that several models share is cast once."""
        cast: dict[tuple[int, torch.dtype], Tensor] = {}
        weights = {}
        for name, states in self._states.items():
            weight, dtype = states.head.weight.detach(), states.head.dtype or states.head.weight.dtype
            key = (weight.data_ptr(), dtype)
            if key not in cast:
                cast[key] = weight[: self._size].to(dtype)
            weights[name] = cast[key]
        return weights

    def slices(self) -> Iterator[slice]:
        return _slices(len(self.positions), self._slice_len)

    @torch.no_grad()
    def scores(self, at: slice) -> dict[Score, Tensor]:
        """The scores of a slice. Leaves p in the student's sheet, and r or log(p / q) in another model's."""
        num = at.stop - at.start
        z = self._logits("student", at, self._sheet[:num])
        ids = self.positions.token_ids[at, None]
        others = {name: self._logits(name, at, self._other_sheets[name][:num]) for name in self._others}
        token = z.gather(1, ids).squeeze(1)
        teacher_token = others["teacher"].gather(1, ids).squeeze(1) if "teacher_logp" in self.wanted else None
        votes = self.positions.votes
        voted_z = z.gather(1, votes.ids[at]) if votes is not None and VOTED & self.wanted else None
        if self._capped is not None:
            self._capped[:num].copy_(z)
        # Logarithms of sums are differences of large numbers of like size: kept in float64.
        lse = torch.empty(num, dtype=torch.float64, device=self._device)
        names: set[Score] = {*self.wanted, "entropy"}
        scores: dict[Score, Tensor] = {name: torch.empty_like(token) for name in names}
        centre = Centre(votes, at, token) if votes is not None and "centred_fork" in self.wanted else None
        other_lse = {name: torch.empty_like(lse) for name in others}
        for rows in self._rows(num):
            z_rows, (p, spare) = z[rows], (block[: rows.stop - rows.start] for block in self._blocks)
            top = z_rows.amax(1)
            torch.softmax(z_rows, 1, out=p)
            lse[rows] = top.double() - p.amax(1).double().log()
            # vecdot is much faster than a batched matrix product of so few rows.
            scores["entropy"][rows] = (lse[rows] - vecdot(p, z_rows)).to(self.dtype)
            if centre is not None:
                centre.add(rows, z_rows, p, spare, lse[rows])
            for name, other in others.items():
                other_lse[name][rows] = self._compare(
                    name, scores, rows, z_rows, p, other[rows], spare, lse[rows]
                )
            z_rows.copy_(p)
        if "logp" in scores:
            scores["logp"] = (token - lse).to(self.dtype)
        if teacher_token is not None:
            scores["teacher_logp"] = (teacher_token - other_lse["teacher"]).to(self.dtype)
        if voted_z is not None:
            assert votes is not None
            voted_logp = (voted_z - lse[:, None]).to(self.dtype)
            if "posterior_kl" in self.wanted:
                self._votes = voted(voted_logp, votes.ids[at], votes.counts[at], votes.alpha)
                scores["posterior_kl"] = self._votes.kl
            if centre is not None:
                self._centred = centre.finished(voted_logp)
                scores["centred_fork"] = self._centred.value
        self._entropy = scores["entropy"]
        return {name: scores[name] for name in self.wanted}

    def _compare(
        self, name: str, scores: dict[Score, Tensor], rows: slice,
        z: Tensor, p: Tensor, other: Tensor, spare: Tensor, lse: Tensor,
    ) -> Tensor:  # fmt: skip
        """Write the divergences of a block of rows from that model, and leave r or log(p / q) in its sheet."""
        top = other.amax(1).double()
        reverse = REVERSE[name]
        if reverse in self.wanted or name == "teacher":
            torch.softmax(other, 1, out=spare)
            other_lse = top - spare.amax(1).double().log()
            torch.sub(z, other, out=other)
            other.sub_((lse - other_lse).to(self.dtype)[:, None])
            if reverse in self.wanted:
                scores[reverse][rows] = vecdot(p, other)
            if name == "reference" and "ref_kl" in self.wanted:
                scores["ref_kl"][rows] = -vecdot(spare, other)
                self._other_sheets["r"][rows].copy_(spare)
            return other_lse
        torch.sub(other, z, out=spare)
        torch.softmax(other, 1, out=other)
        other_lse = top - other.amax(1).double().log()
        scores["ref_kl"][rows] = (vecdot(other, spare) - other_lse + lse).to(self.dtype)
        return other_lse

    @torch.no_grad()
    def add_slopes(
        self, at: slice, scores: Mapping[Score, Tensor], by_score: Mapping[Score, Tensor], slopes: Slopes
    ) -> None:
        """Turn the sheet into the gradient of the slice's logits, and add it to the slopes."""
        if not by_score:
            return
        num = at.stop - at.start
        gradient, scale = self._gradient(at, scores, by_score)
        head = self.positions.student.head
        if self._capped is not None and head.softcap:
            # d softcap(x) / dx = 1 − (softcap(x) / c)².
            for rows in self._rows(num):
                inner = self._capped[:num][rows].div_(head.softcap)
                gradient[rows].mul_(inner.mul_(inner).neg_().add_(1))
        self._add(gradient.to(self._weights["student"].dtype), (scale * head.scale)[:, None], at, slopes)

    def _add(self, gradient: Tensor, scale: Tensor, at: slice, slopes: Slopes) -> None:
        """Add the slice's gradient, (n, V) in the dtype of products, times a scale (n, 1) or ()."""
        weight = self._weights["student"]
        if slopes.hidden is not None:
            slopes.hidden[at] = ((gradient @ weight) * scale).to(slopes.hidden.dtype)
        if slopes.weight is not None:
            hidden = self.positions.student.hidden[at].to(self.dtype) * scale
            slopes.add_to_weight(gradient, hidden.to(weight.dtype))
        if slopes.bias is not None:
            slopes.bias[: self._size] += (
                gradient.T @ scale.expand(len(gradient), 1).to(gradient.dtype)
            ).squeeze(1)

    def _gradient(
        self, at: slice, scores: Mapping[Score, Tensor], by_score: Mapping[Score, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The gradient of a slice's logits as (n, V), and a factor per position, (n,)."""
        p = self._sheet[: at.stop - at.start]
        level = torch.zeros_like(p[:, 0])  # a of the module's formula
        single: list[tuple[Tensor, Tensor]] = []  # tokens (n, k), and the terms of their gradient
        if (slope := by_score.get("logp")) is not None:
            level -= slope
            single.append((self.positions.token_ids[at, None], slope[:, None]))
        if (slope := by_score.get("posterior_kl")) is not None:
            assert self._votes is not None
            level += slope * (self._votes.ceiling - self._votes.kl)
            single.append((self._votes.ids, -slope[:, None] * self._votes.gains))
        centred = by_score.get("centred_fork")
        if centred is not None:
            assert self._centred is not None
            level += centred * self._centred.level
            single.append((self._centred.ids, -centred[:, None] * self._centred.gains))
        if (slope := by_score.get("entropy")) is not None:
            level -= slope * self._entropy
        if (forward := by_score.get("ref_kl")) is not None:
            level += forward
        ratios = {}
        for name, score in REVERSE.items():
            if (slope := by_score.get(score)) is not None:
                level -= slope * scores[score]
                ratios[name] = slope
        moved = torch.stack([slope != 0 for slope in by_score.values()]).any(0)
        if (
            not ratios
            and "entropy" not in by_score
            and centred is None
            and not bool((moved & (level == 0)).any())
        ):
            # The factor is applied to the narrow side of the products, and r takes one pass.
            scale = torch.where(level == 0, 1.0, level)
            if forward is not None:
                p.addcmul_(self._reference(len(p)), (-forward / scale)[:, None])
        else:
            scale = torch.ones_like(level)
            self._in_place(p, level, forward, ratios, by_score.get("entropy"), centred)
        for tokens, values in single:
            p.scatter_add_(1, tokens, values / scale[:, None])
        return p, torch.where(moved, scale, 0.0)

    def _in_place(
        self,
        p: Tensor,
        level: Tensor,
        forward: Tensor | None,
        ratios: Mapping[str, Tensor],
        entropy: Tensor | None,
        centred: Tensor | None,
    ) -> None:
        """Turn p into the gradient, without the terms of single tokens."""
        for rows in self._rows(len(p)):
            p_rows, gradient = p[rows], self._blocks[0][: rows.stop - rows.start]
            gradient.copy_(p_rows).mul_(level[rows, None])
            if entropy is not None:
                gradient.addcmul_(torch.special.entr(p_rows), entropy[rows, None])
            if centred is not None:
                assert self._centred is not None
                weight = self._centred.weight(p_rows, rows)
                gradient.addcmul_(p_rows * weight, (centred * self._centred.counts)[rows, None])
            for name, slope in ratios.items():
                gradient.addcmul_(p_rows * self._other_sheets[name][rows], slope[rows, None])
            if forward is not None:
                gradient.addcmul_(self._reference(len(p))[rows], -forward[rows, None])
            p_rows.copy_(gradient)

    def _reference(self, num: int) -> Tensor:
        """The reference's probabilities, (n, V)."""
        return self._other_sheets["r" if "r" in self._other_sheets else "reference"][:num]

    def _logits(self, name: str, at: slice, out: Tensor) -> Tensor:
        """Write a model's logits of a slice, (n, V), into `out`."""
        self._multiply(name, at, out)
        head = self._states[name].head
        if head.scale != 1.0:
            out.mul_(head.scale)
        if head.softcap:
            out.div_(head.softcap).tanh_().mul_(head.softcap)
        return out

    def _multiply(self, name: str, at: slice, out: Tensor) -> None:
        head, weight = self._states[name].head, self._weights[name]
        hidden = self._states[name].hidden[at].to(weight.dtype)
        if weight.dtype == out.dtype:
            torch.mm(hidden, weight.T, out=out)
        else:
            out.copy_(hidden @ weight.T)
        if head.bias is not None:
            out.add_(head.bias[: self._size])

    def _rows(self, num: int) -> Iterator[slice]:
        return _slices(num, self._block_rows)


def _slices(num: int, size: int) -> Iterator[slice]:
    return (slice(first, min(first + size, num)) for first in range(0, num, max(1, size)))
