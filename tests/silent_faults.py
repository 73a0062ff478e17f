"""Faults of the silent kind for campaigns: flipped bits, changed files, and a count of how each kind was noticed."""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass
class Tally:
    """How many faults of each kind were injected, and how they were noticed."""

    rows: list[tuple[str, int, str]] = field(default_factory=list)

    def add(self, kind: str, number: int, how: str) -> None:
        self.rows.append((kind, number, how))
        print(self._line(kind, number, how))

    @property
    def total(self) -> int:
        return sum(number for _, number, _ in self.rows)

    def table(self) -> str:
        lines = [self._line(*row) for row in self.rows]
        return "\n".join([*lines, self._line("all", self.total, "")])

    @staticmethod
    def _line(kind: str, number: int, how: str) -> str:
        return f"{kind:<62} {number:>4}  {how}".rstrip()


@contextmanager
def restored(folder: Path) -> Iterator[None]:
    """What the block changes in the folder, is undone."""
    copy = folder.with_name(f"{folder.name}.before")
    shutil.copytree(folder, copy)
    try:
        yield
    finally:
        shutil.rmtree(folder)
        copy.rename(folder)


def random_file(folder: Path, rng: random.Random) -> Path:
    return rng.choice(sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size))


def flip_bit(file: Path, rng: random.Random) -> str:
    """Flip a random bit of the file; returns where."""
    content = bytearray(file.read_bytes())
    at, bit = rng.randrange(len(content)), rng.randrange(8)
    content[at] ^= 1 << bit
    file.write_bytes(content)
    return f"{file}: bit {bit} of byte {at}"


def flip_weight(tensor: Tensor, rng: random.Random) -> str:
    """Flip a random bit of a random value in place, such that the value is another one: 0 and -0 are the same."""
    flat = tensor.data.view(-1)
    while True:
        at, bit = rng.randrange(len(flat)), rng.randrange(8 * tensor.element_size())
        before, piece = flat[at].clone(), flat[at : at + 1].view(BITS[tensor.element_size()])
        # As a signed number: the last bit is the sign.
        piece ^= torch.tensor(1, dtype=piece.dtype) << bit
        if flat[at] != before:
            return f"bit {bit} of value {at}: {float(before):g} became {float(flat[at]):g}"


def change_weights(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], None]:
    """A fault in the tensors of a model's file."""

    def damage(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})

    return damage


def change_json(name: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """A fault in a JSON file of a model."""

    def damage(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        change(content)
        (folder / name).write_text(json.dumps(content))

    return damage


def permuted(rng: random.Random, number: int | None = None) -> Callable[[Path], None]:
    """A tokenizer in which some ordinary tokens, or all, have each other's ids."""

    def change(content: dict[str, Any]) -> None:
        special = {token["content"] for token in content["added_tokens"]}
        ids = content["model"]["vocab"]
        names = [name for name in ids if name not in special]
        names = rng.sample(names, number or len(names))
        content["model"]["vocab"] = ids | {
            name: ids[other] for name, other in zip(names, [*names[1:], names[0]], strict=True)
        }

    return change_json("tokenizer.json", change)
