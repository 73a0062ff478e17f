"""Time and peak memory of the fused loss against its floor, the bare matrix products, and its alternatives.

KL(reference ‖ student) forwards and backwards, over real vocabularies. `python -m benchmarks.loss FORM N V TRAINED`
prints the peak memory of one form, in a process of its own, in MiB above the inputs.
"""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from benchmarks.figure import Figure, in_turns
from omniopd.functional import Head, Positions, States, forward_kl, fused_loss, token_scores

MIB = 2**20


@dataclass(frozen=True)
class Size:
    """N positions, H hidden, V vocabulary, how many positions are worked on at once, and where."""

    num: int
    width: int
    vocabulary: int
    device: str
    dtype: torch.dtype
    slice_len: int = 256


CPU = Size(512, 1024, 151_936, "cpu", torch.float32)
GPU = Size(4096, 2048, 151_936, "cuda", torch.bfloat16)


class Inputs:
    """Hidden states of a student and of a reference near it, and their heads."""

    def __init__(self, size: Size, *, trains_head: bool):
        generator = torch.Generator(size.device).manual_seed(0)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, device=size.device).to(size.dtype)

        self.slice_len = size.slice_len

        self.hidden = (normal(size.num, size.width) * 0.5).requires_grad_()
        self.ref_hidden = self.hidden.detach() + normal(size.num, size.width) * 0.05
        self.weight = (normal(size.vocabulary, size.width) * 0.05).requires_grad_(trains_head)
        self.ref_weight = self.weight.detach().clone()
        self.ids = torch.zeros(size.num, dtype=torch.int64, device=size.device)
        shape = (size.slice_len, size.vocabulary)
        self.sheets = [torch.empty(shape, device=size.device, dtype=size.dtype) for _ in range(2)]
        self.gradient = torch.zeros_like(self.weight) if trains_head else None

    def clear(self) -> None:
        """Forget the gradients of the last form."""
        self.hidden.grad = self.weight.grad = None


def ours(inputs: Inputs) -> None:
    positions = Positions(
        States(inputs.hidden, Head(inputs.weight)), inputs.ids,
        reference=States(inputs.ref_hidden, Head(inputs.ref_weight)),
    )  # fmt: skip
    fused_loss(
        positions, {"ref_kl"}, lambda scores, _: {"kl": scores["ref_kl"].sum()}, slice_len=inputs.slice_len
    ).loss.backward()


def products(inputs: Inputs) -> None:
    """Only the matrix products, into preallocated sheets, with the gradient of the head."""
    logits, ref_logits = inputs.sheets
    states, weight = inputs.hidden.detach(), inputs.weight.detach()
    for hidden, ref in zip(
        states.split(inputs.slice_len), inputs.ref_hidden.split(inputs.slice_len), strict=True
    ):
        torch.mm(hidden, weight.T, out=logits)
        torch.mm(ref, inputs.ref_weight.T, out=ref_logits)
        torch.mm(logits, weight)
        if inputs.gradient is not None:
            inputs.gradient.addmm_(logits.T, hidden)


def naive(inputs: Inputs) -> None:
    _kl(inputs.hidden, inputs.weight, inputs.ref_hidden, inputs.ref_weight).backward()


def checkpointed(inputs: Inputs) -> None:
    """Slices whose logits are recomputed in the backward pass."""
    loss = torch.zeros((), device=inputs.hidden.device)
    for hidden, ref in zip(
        inputs.hidden.split(inputs.slice_len), inputs.ref_hidden.split(inputs.slice_len), strict=True
    ):
        loss = loss + checkpoint(_kl, hidden, inputs.weight, ref, inputs.ref_weight, use_reentrant=False)
    loss.backward()


def trl(inputs: Inputs) -> None:
    from trl.trainer.distillation_trainer import _chunked_divergence_loss

    mask = torch.ones(1, len(inputs.ids), dtype=torch.int64, device=inputs.hidden.device)
    loss, _, _ = _chunked_divergence_loss(
        inputs.hidden[None], inputs.ref_hidden[None], inputs.weight, inputs.ref_weight, mask, beta=0.0,
        num_items_in_batch=1,
    )  # fmt: skip
    loss.backward()


def liger(inputs: Inputs) -> None:
    """Its generalised divergence with the same meaning; it needs Triton."""
    from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss  # pyright: ignore[reportMissingImports]

    loss = LigerFusedLinearJSDLoss(weight_hard_loss=0.0, weight_soft_loss=1.0, beta=0.0)
    loss(inputs.hidden, inputs.weight, inputs.ref_hidden, inputs.ref_weight, inputs.ids).backward()


def _kl(hidden: Tensor, weight: Tensor, ref_hidden: Tensor, ref_weight: Tensor) -> Tensor:
    return forward_kl(ref_hidden @ ref_weight.T, hidden @ weight.T).sum()


FORMS: dict[str, Callable[[Inputs], None]] = {
    form.__name__: form for form in (ours, products, naive, checkpointed, trl)
}


def figures(size: Size = CPU, rounds: int = 3) -> list[Figure]:
    """Positions a second and peak memory; and for twice as many positions, and a smaller vocabulary."""
    smaller = replace(size, num=2 * size.num, vocabulary=32_000)
    named = f"N = {smaller.num}, V = {smaller.vocabulary}"
    return [*_figures(size, rounds), _twice(size, rounds), *_against_products(smaller, rounds, named=named)]


def _figures(size: Size, rounds: int) -> list[Figure]:
    """With the head trained and frozen, and entropies alone."""
    forms = dict(FORMS)
    if size.device == "cuda" and _has_liger():
        forms["liger"] = liger
    measured = []
    for trains_head in (True, False):
        rates = _rates(forms, size, trains_head=trains_head, rounds=rounds)
        memory = {
            name: _peak_mib(name, size, trains_head=trains_head) for name in forms if name != "products"
        }
        kind = f"exact KL, head {'trained' if trains_head else 'frozen'}"
        for name in forms:
            if name != "ours":
                measured.append(Figure(kind, "positions/s", rates["ours"], name, rates[name]))
            if name not in ("ours", "products"):
                measured.append(Figure(f"{kind}: peak", "MiB", memory["ours"], name, memory[name]))
    longer = replace(size, num=4 * size.num)
    measured.append(
        Figure(
            "exact KL, head frozen: peak", "MiB", _peak_mib("ours", longer, trains_head=False),
            f"ours at a quarter of {longer.num} positions", _peak_mib("ours", size, trains_head=False),
        )
    )  # fmt: skip
    return [*measured, _entropies(size, rounds)]


def figures_gpu(size: Size = GPU, rounds: int = 5) -> list[Figure]:
    """On a GPU; also with longer slices and other vocabularies, each against its matrix products."""
    measured = _figures(size, rounds)
    longer = replace(size, slice_len=1024)
    for one in (longer, replace(longer, num=4 * size.num), replace(size, vocabulary=32_000, slice_len=4096)):
        named = f"N = {one.num}, V = {one.vocabulary}, slices of {one.slice_len}"
        measured += _against_products(one, rounds, named=named)
    return measured


def _against_products(size: Size, rounds: int, *, named: str) -> list[Figure]:
    """Positions per second against the floor and TRL, and the peak against TRL."""
    forms: dict[str, Callable[[Inputs], None]] = {"ours": ours, "products": products, "trl": trl}
    measured = []
    for trains_head in (True, False):
        rates = _rates(forms, size, trains_head=trains_head, rounds=rounds)
        kind = f"{named}, head {'trained' if trains_head else 'frozen'}"
        measured += [
            Figure(kind, "positions/s", rates["ours"], name, rates[name]) for name in ("products", "trl")
        ]
        peaks = [_peak_mib(form, size, trains_head=trains_head) for form in ("ours", "trl")]
        measured.append(Figure(f"{kind}: peak", "MiB", peaks[0], "trl", peaks[1]))
    return measured


def _rates(
    forms: dict[str, Callable[[Inputs], None]], size: Size, *, trains_head: bool, rounds: int
) -> dict[str, float]:
    inputs = Inputs(size, trains_head=trains_head)
    works = {name: _work(form, inputs, size) for name, form in forms.items()}
    return in_turns(works, rounds=rounds)


def _twice(size: Size, rounds: int) -> Figure:
    sizes = {"twice": replace(size, num=2 * size.num), "once": size}
    works = {name: _work(ours, Inputs(one, trains_head=False), one) for name, one in sizes.items()}
    rates = in_turns(works, rounds=rounds)
    kind = f"exact KL, head frozen, {2 * size.num} positions"
    return Figure(kind, "positions/s", rates["twice"], f"ours of {size.num}", rates["once"])


def _work(form: Callable[[Inputs], None], inputs: Inputs, size: Size) -> Callable[[], int]:
    def work() -> int:
        inputs.clear()
        form(inputs)
        _wait(size)
        return size.num

    return work


def _entropies(size: Size, rounds: int) -> Figure:
    inputs = Inputs(size, trains_head=False)
    states = States(inputs.hidden.detach(), Head(inputs.weight))

    def scored() -> int:
        token_scores(Positions(states, inputs.ids), {"entropy", "logp"}, slice_len=size.slice_len)
        _wait(size)
        return size.num

    def multiplied() -> int:
        for hidden in states.hidden.split(size.slice_len):
            torch.mm(hidden, inputs.weight.T, out=inputs.sheets[0])
        _wait(size)
        return size.num

    rates = in_turns({"ours": scored, "products": multiplied}, rounds=rounds)
    return Figure("entropies", "positions/s", rates["ours"], "the product alone", rates["products"])


def _wait(size: Size) -> None:
    if size.device == "cuda":
        torch.cuda.synchronize()


def _peak_mib(form: str, size: Size, *, trains_head: bool) -> float:
    """On a CPU in a fresh process."""
    if size.device == "cuda":
        return _measure_gpu(form, size, trains_head=trains_head)
    arguments = [form, str(size.num), str(size.vocabulary), str(int(trains_head))]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.loss", *arguments], capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def _measure(form: str, size: Size, *, trains_head: bool) -> float:
    inputs = Inputs(size, trains_head=trains_head)
    torch.mm(inputs.hidden.detach()[:8], inputs.ref_weight.T)  # what the library keeps for itself
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the high-water mark begins here
    before = _status_mib("VmRSS")
    FORMS[form](inputs)
    return _status_mib("VmHWM") - before


def _measure_gpu(form: str, size: Size, *, trains_head: bool) -> float:
    inputs = Inputs(size, trains_head=trains_head)
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    (FORMS | {"liger": liger})[form](inputs)
    return (torch.cuda.max_memory_allocated() - before) / MIB


def _status_mib(name: str) -> float:
    with open("/proc/self/status") as file:
        [line] = [line for line in file if line.startswith(name)]
    return int(line.split()[1]) / 1024


def _has_liger() -> bool:
    try:
        import liger_kernel  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        return False
    return True


def main() -> None:
    """Print one form's peak."""
    form, num, vocabulary, trains_head = sys.argv[1:]
    size = replace(CPU, num=int(num), vocabulary=int(vocabulary))
    print(_measure(form, size, trains_head=bool(int(trains_head))))


if __name__ == "__main__":
    main()
