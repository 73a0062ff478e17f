"""Receipts: a piece of work is skipped if its receipt is valid, without trusting anyone's cache.

A receipt has the key of the work (a hash of its inputs) and the digest of every file that it wrote. It is written
last, with a digest of itself. It is valid if the key and all digests match, so a missing or damaged file is made again.
"""

import hashlib
import json
from collections.abc import Sequence
from os.path import isfile  # which takes every name, also one that is too long for a file
from pathlib import Path
from typing import Any

from omniopd.data.store import file_md5, read_json, write_json
from omniopd.errors import DataError

DIGEST = "digest"  # of the rest of a receipt: a damaged number is still JSON


def work_key(*parts: object) -> str:
    """16 hex digits that identify the work with these inputs."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def write_receipt(
    receipt: Path, *, key: str, files: Sequence[Path], base: Path, more: dict[str, Any] | None = None
) -> None:
    """Record finished work: its key, the md5 of its files (paths relative to base), and further fields."""
    digests = {path.relative_to(base).as_posix(): file_md5(path) for path in files}
    content = {"key": key, "files": digests, **(more or {})}
    write_json(receipt, content | {DIGEST: _digest(content)})


def valid_receipt(receipt: Path, *, key: str, base: Path) -> dict[str, Any] | None:
    """The receipt's content if the work is done, else None."""
    try:
        content = read_json(receipt, "key", "files")
    except DataError:
        return None
    # Receipts of earlier versions have no digest of themselves.
    if content["key"] != key or content.get(DIGEST, _digest(content)) != _digest(content):
        return None
    for name, digest in content["files"].items():
        path = base / name
        if not isfile(path) or file_md5(path) != digest:
            return None
    return content


def _digest(content: dict[str, Any]) -> str:
    rest = {name: value for name, value in content.items() if name != DIGEST}
    return hashlib.md5(json.dumps(rest, sort_keys=True).encode()).hexdigest()
