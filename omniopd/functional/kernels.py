"""Sheets on a GPU, with two Triton kernels that read logits twice and overwrite them with their gradient.

The first kernel reads a row of each model's logits for the position's scores; the second reads them again and writes
the gradient of sheets.py's formula over the student's. Sheets are in the dtype of products, arithmetic in float32
(float64 for float64 logits), and sums in float64.
"""

from collections.abc import Mapping
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from omniopd.functional import posterior
from omniopd.functional.forks import Centre, voted
from omniopd.functional.positions import Head, Score, Votes
from omniopd.functional.sheets import GPU_SHEET, READS, SHEET_ELEMENTS, VOTED, Sheets, Slopes

COLUMNS, WARPS = 1024, 4  # read at once by a program, and its warps
# Results of the first kernel for each position, and the scores whose derivatives the second takes.
STATISTICS: tuple[Score, ...] = ("logp", "entropy", "ref_kl", "kl_to_ref", "kl_to_teacher", "teacher_logp")
# Scores that the second kernel reads.
COMPARED: tuple[Score, ...] = ("entropy", "kl_to_ref", "kl_to_teacher", "posterior_kl")
SLOPES: tuple[Score, ...] = (
    "logp", "entropy", "ref_kl", "kl_to_ref", "kl_to_teacher", "posterior_kl", "centred_fork",
)  # fmt: skip
LANE = tl.constexpr(8)  # columns: 16 bytes of bfloat16
LOWEST = tl.constexpr(-1e30)  # below every logit, and finite
LEAST_P = tl.constexpr(posterior.LEAST_P)


class KernelSheets(Sheets):
    """Sheets of logits before scale and cap; the student's becomes the gradient."""

    elements = GPU_SHEET * SHEET_ELEMENTS

    def _allocate(self) -> None:
        self._logits_of = {
            name: self._empty(self._slice_len, self._weights[name].dtype) for name in self._states
        }
        self._forms: dict[str, Any] = {
            "WIDE": self.dtype == torch.float64,
            "COLUMNS": COLUMNS,
            "num_warps": WARPS,
        }
        for letter, name in (("Z", "student"), ("R", "reference"), ("Q", "teacher")):
            head = self._states[name].head if name in self._states else Head(self._weights["student"])
            self._forms |= {f"{letter}_SCALE": head.scale, f"{letter}_CAP": head.softcap or 0.0}

    @torch.no_grad()
    def scores(self, at: slice) -> dict[Score, Tensor]:
        """The scores of a slice."""
        num = at.stop - at.start
        for name, sheet in self._logits_of.items():
            self._multiply(name, at, sheet[:num])
        lse = torch.empty((len(self._states), num), dtype=torch.float64, device=self._device)
        self._lse = dict(zip(self._states, lse, strict=True))
        scores: dict[Score, Tensor] = {
            name: torch.empty(num, dtype=self.dtype, device=self._device) for name in STATISTICS
        }
        launch: Any = _statistics[(num,)]  # Triton fills in the rest
        launch(
            *self._three(self._logits_of), *self._three(self._lse), self.positions.token_ids[at].contiguous(),
            *scores.values(), self._size,
            HAS_REFERENCE="reference" in self._states, BOTH_WAYS="kl_to_ref" in self.wanted,
            HAS_TEACHER="teacher" in self._states, **self._forms,
        )  # fmt: skip
        self._scores = scores
        votes = self.positions.votes
        if votes is not None and VOTED & self.wanted:
            z = self._logits_of["student"][:num].gather(1, votes.ids[at]).to(self.dtype)
            logp = (self._formed(z) - self._lse["student"][:, None]).to(self.dtype)
            if "posterior_kl" in self.wanted:
                self._votes = voted(logp, votes.ids[at], votes.counts[at], votes.alpha)
                scores["posterior_kl"] = self._votes.kl
            if "centred_fork" in self.wanted:
                self._centred = self._centre(votes, at).finished(logp)
                scores["centred_fork"] = self._centred.value
        return {name: scores[name] for name in self.wanted}

    @torch.no_grad()
    def add_slopes(
        self,
        at: slice,
        scores: Mapping[Score, Tensor],  # noqa: ARG002
        by_score: Mapping[Score, Tensor],
        slopes: Slopes,
    ) -> None:
        """Turn the sheet into the gradient of the slice's logits, and add it to the slopes."""
        if not by_score:
            return
        num, none = at.stop - at.start, self._scores["entropy"]
        ids, ceiling = self.positions.token_ids[at].contiguous(), none
        voted_ids, gains = ids[:, None], none[:, None]
        centred_gains, counts, level, alpha = gains, none, none, 1.0
        if self._votes is not None and "posterior_kl" in by_score:
            voted_ids, gains = self._votes.ids.contiguous(), self._votes.gains.contiguous()
            ceiling = self._votes.ceiling
        if self._centred is not None and "centred_fork" in by_score:
            voted_ids, centred_gains = self._centred.ids.contiguous(), self._centred.gains.contiguous()
            counts, level, alpha = self._centred.counts, self._centred.level, self._centred.alpha
        gradient = self._logits_of["student"][:num]
        launch: Any = _gradient[(num, triton.cdiv(self._size, COLUMNS))]
        launch(
            *self._three(self._logits_of), *self._three(self._lse), ids,
            *(self._scores.get(name, none) for name in COMPARED), ceiling, counts, level,
            *(by_score.get(name, none).contiguous() for name in SLOPES),
            voted_ids, gains, centred_gains, voted_ids.shape[1], alpha, self._size,
            **{f"BY_{name.upper()}": name in by_score for name in SLOPES}, **self._forms,
        )  # fmt: skip
        self._add(gradient, gradient.new_ones(()), at, slopes)

    def _centre(self, votes: Votes, at: slice) -> Centre:
        """The means of a slice that the centred fork needs, by torch's operations."""
        lse, centre = self._lse["student"], Centre(votes, at, self._scores["entropy"])
        for rows in self._rows(at.stop - at.start):
            z = self._formed(self._logits_of["student"][rows].to(self.dtype))
            p = (z - lse[rows, None]).exp().to(self.dtype)
            centre.add(rows, z, p, torch.empty_like(p), lse[rows])
        return centre

    def _three(self, tensors: Mapping[str, Tensor]) -> list[Tensor]:
        """Those of the student, the reference and the teacher; the student's, unread, where there is no such model."""
        return [tensors.get(name, tensors["student"]) for name in ("student", *READS)]

    def _formed(self, z: Tensor) -> Tensor:
        head = self.positions.student.head
        z = z * head.scale
        return torch.tanh(z / head.softcap) * head.softcap if head.softcap else z


@triton.jit
def _logits(sheet, at, there, SCALE: tl.constexpr, CAP: tl.constexpr, WIDE: tl.constexpr):
    """Finite logits, so that products with 0 are 0."""
    x = _formed(tl.load(sheet + at, mask=there, other=LOWEST), SCALE, CAP, WIDE)
    return tl.where(there, x, LOWEST) if CAP > 0.0 else tl.maximum(x, LOWEST)


@triton.jit
def _formed(x, SCALE: tl.constexpr, CAP: tl.constexpr, WIDE: tl.constexpr):
    x = x.to(tl.float64 if WIDE else tl.float32) * SCALE
    if CAP > 0.0:
        x = CAP * (2.0 * tl.sigmoid(2.0 * x / CAP) - 1.0)
    return x


@triton.jit
def _less(x, lse):
    """x − lse in the dtype of x, as exact as in that of lse."""
    whole = lse.to(x.dtype)
    return (x - whole) - (lse - whole).to(x.dtype)


@triton.jit
def _statistics(
    z, ref, teacher, lse, ref_lse, teacher_lse, ids,
    logp, entropy, ref_kl, kl_to_ref, kl_to_teacher, teacher_logp, size: tl.constexpr,
    HAS_REFERENCE: tl.constexpr, BOTH_WAYS: tl.constexpr, HAS_TEACHER: tl.constexpr,
    WIDE: tl.constexpr, COLUMNS: tl.constexpr,
    Z_SCALE: tl.constexpr, Z_CAP: tl.constexpr, R_SCALE: tl.constexpr, R_CAP: tl.constexpr,
    Q_SCALE: tl.constexpr, Q_CAP: tl.constexpr,
):  # fmt: skip
    """One row. Sums of exp(logit − top), each lane with its own top until the end.

    A lane is what a thread reads at once, so that it needs neither its neighbours nor more than one sum of each kind.
    """
    row = tl.program_id(0).to(tl.int64)
    dtype = tl.float64 if WIDE else tl.float32
    lanes = tl.arange(0, COLUMNS // LANE)[:, None] * LANE + tl.arange(0, LANE)[None, :]
    zero = tl.zeros((COLUMNS // LANE,), dtype)
    top, total, mean = zero + LOWEST, zero, zero
    ref_top, ref_total, ref_gap, gap_to_ref = zero + LOWEST, zero, zero, zero
    teacher_top, teacher_total, gap_to_teacher = zero + LOWEST, zero, zero
    for first in range(0, size, COLUMNS):
        at = first + lanes
        there = at < size
        x = _logits(z, row * size + at, there, Z_SCALE, Z_CAP, WIDE)
        new = tl.maximum(top, tl.max(x, 1))
        shrink, p = tl.exp(top - new), tl.exp(x - new[:, None])
        top, total = new, total * shrink + tl.sum(p, 1)
        mean = mean * shrink + tl.sum(p * x, 1)
        if HAS_REFERENCE:
            y = _logits(ref, row * size + at, there, R_SCALE, R_CAP, WIDE)
            if BOTH_WAYS:
                gap_to_ref = gap_to_ref * shrink + tl.sum(p * (x - y), 1)
            new = tl.maximum(ref_top, tl.max(y, 1))
            ref_shrink, r = tl.exp(ref_top - new), tl.exp(y - new[:, None])
            ref_top, ref_total = new, ref_total * ref_shrink + tl.sum(r, 1)
            ref_gap = ref_gap * ref_shrink + tl.sum(r * (y - x), 1)
        if HAS_TEACHER:
            y = _logits(teacher, row * size + at, there, Q_SCALE, Q_CAP, WIDE)
            gap_to_teacher = gap_to_teacher * shrink + tl.sum(p * (x - y), 1)
            new = tl.maximum(teacher_top, tl.max(y, 1))
            teacher_total = teacher_total * tl.exp(teacher_top - new) + tl.sum(tl.exp(y - new[:, None]), 1)
            teacher_top = new

    id = tl.load(ids + row)
    share, z_lse, z_total = _whole(top, total)
    tl.store(lse + row, z_lse)
    tl.store(logp + row, _less(_formed(tl.load(z + row * size + id), Z_SCALE, Z_CAP, WIDE), z_lse))
    tl.store(entropy + row, z_lse - tl.sum(mean * share, 0) / z_total)
    if HAS_REFERENCE:
        ref_share, other_lse, other_total = _whole(ref_top, ref_total)
        tl.store(ref_lse + row, other_lse)
        tl.store(ref_kl + row, tl.sum(ref_gap * ref_share, 0) / other_total - other_lse + z_lse)
        if BOTH_WAYS:
            tl.store(kl_to_ref + row, tl.sum(gap_to_ref * share, 0) / z_total - z_lse + other_lse)
    if HAS_TEACHER:
        _, other_lse, _ = _whole(teacher_top, teacher_total)
        tl.store(teacher_lse + row, other_lse)
        tl.store(kl_to_teacher + row, tl.sum(gap_to_teacher * share, 0) / z_total - z_lse + other_lse)
        token = _formed(tl.load(teacher + row * size + id), Q_SCALE, Q_CAP, WIDE)
        tl.store(teacher_logp + row, _less(token, other_lse))


@triton.jit
def _whole(top, total):
    """The weight of each lane's sums, the logarithm of the sum of exponentials, and that sum over its top."""
    highest = tl.max(top, 0)
    share = tl.exp(top - highest)
    whole = tl.sum(total * share, 0).to(tl.float64)
    return share, highest.to(tl.float64) + tl.log(whole), whole


@triton.jit
def _gradient(
    z, ref, teacher, lse, ref_lse, teacher_lse, ids,
    entropy, kl_to_ref, kl_to_teacher, posterior_kl, ceiling, counts, level,
    by_logp, by_entropy, by_ref_kl, by_kl_to_ref, by_kl_to_teacher, by_posterior_kl, by_centred_fork,
    voted_ids, gains, centred_gains, num_votes: tl.constexpr, alpha, size: tl.constexpr,
    BY_LOGP: tl.constexpr, BY_ENTROPY: tl.constexpr, BY_REF_KL: tl.constexpr, BY_KL_TO_REF: tl.constexpr,
    BY_KL_TO_TEACHER: tl.constexpr, BY_POSTERIOR_KL: tl.constexpr, BY_CENTRED_FORK: tl.constexpr,
    WIDE: tl.constexpr, COLUMNS: tl.constexpr,
    Z_SCALE: tl.constexpr, Z_CAP: tl.constexpr, R_SCALE: tl.constexpr, R_CAP: tl.constexpr,
    Q_SCALE: tl.constexpr, Q_CAP: tl.constexpr,
):  # fmt: skip
    """Some columns of one row: the derivative of the loss with respect to z, in its place."""
    row = tl.program_id(0).to(tl.int64)
    dtype = tl.float64 if WIDE else tl.float32
    at = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    there = at < size
    x = _logits(z, row * size + at, there, Z_SCALE, Z_CAP, WIDE)
    z_logp = _less(x, tl.load(lse + row))
    p = tl.exp(z_logp)
    inner = tl.zeros((COLUMNS,), dtype)
    added = tl.zeros((COLUMNS,), dtype)
    if BY_LOGP:
        slope = tl.load(by_logp + row)
        inner -= slope
        added += tl.where(at == tl.load(ids + row), slope, 0.0)
    if BY_ENTROPY:
        inner -= tl.load(by_entropy + row) * (z_logp + tl.load(entropy + row))
    if BY_REF_KL or BY_KL_TO_REF:
        y = _logits(ref, row * size + at, there, R_SCALE, R_CAP, WIDE)
        logr = _less(y, tl.load(ref_lse + row))
        if BY_REF_KL:
            slope = tl.load(by_ref_kl + row)
            inner += slope
            added -= slope * tl.exp(logr)
        if BY_KL_TO_REF:
            inner += tl.load(by_kl_to_ref + row) * (z_logp - logr - tl.load(kl_to_ref + row))
    if BY_KL_TO_TEACHER:
        y = _logits(teacher, row * size + at, there, Q_SCALE, Q_CAP, WIDE)
        logq = _less(y, tl.load(teacher_lse + row))
        inner += tl.load(by_kl_to_teacher + row) * (z_logp - logq - tl.load(kl_to_teacher + row))
    if BY_POSTERIOR_KL:
        slope = tl.load(by_posterior_kl + row)
        inner += slope * (tl.load(ceiling + row) - tl.load(posterior_kl + row))
        for k in range(num_votes):
            vote = row * num_votes + k
            added -= tl.where(at == tl.load(voted_ids + vote), slope * tl.load(gains + vote), 0.0)
    if BY_CENTRED_FORK:
        slope = tl.load(by_centred_fork + row)
        num = tl.load(counts + row)
        weight = p * tl.log(1.0 + num / (alpha * tl.maximum(p, LEAST_P)))
        inner += slope * (tl.load(level + row) + num * weight)
        for k in range(num_votes):
            vote = row * num_votes + k
            added -= tl.where(at == tl.load(voted_ids + vote), slope * tl.load(centred_gains + vote), 0.0)
    gradient = (p * inner + added) * Z_SCALE
    if Z_CAP > 0.0:
        gradient *= 1.0 - (x / Z_CAP) * (x / Z_CAP)
    tl.store(z + row * size + at, gradient.to(z.dtype.element_ty), mask=there)
