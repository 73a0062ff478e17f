"""The licence of a model, as the files that come with it state it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard
from transformers.utils.hub import cached_file

UNKNOWN, OTHER = "unknown", "other"  # as the hub writes them
CARD = "README.md"
LICENCE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE", "NOTICE.txt")
# Licences by the words in their first lines.
_KNOWN = {
    r"apache license\s+version 2\.0": "apache-2.0",
    r"\bmit license": "mit",
    r"gnu general public license\s+version 3": "gpl-3.0",
}
HEAD_LEN = 400  # characters of a licence file that name it
NAME_LEN = 60


@dataclass(frozen=True)
class Licence:
    """A licence by its identifier on the hub; `other` has a name, and a link or the name of a file.

    >>> Licence("other", "llama3.1", "LICENSE").text
    'llama3.1 (LICENSE)'
    """

    id: str
    name: str = ""
    link: str = ""

    @property
    def text(self) -> str:
        """The licence for a reader."""
        name = self.name or self.id
        return f"{name} ({self.link})" if self.link else name


def licence_of(name: str) -> Licence:
    """The licence in the front matter of a model's README.md, else that of its LICENSE file, else `unknown`.

    name: a directory, or owner/name on the hub.
    """
    if (card := _file(name, CARD)) is not None and (licence := _in_card(card)):
        return licence
    files = licence_files(name)
    return _in_file(files[0]) if files and files[0].name.startswith("LICENSE") else Licence(UNKNOWN)


def licence_files(name: str) -> list[Path]:
    """The licence and the notices that come with a model, and belong to its derivatives."""
    return list(filter(None, (_file(name, file) for file in LICENCE_FILES)))


def _file(name: str, file: str) -> Path | None:
    """A file of a model, or None where it has none or the hub does not answer."""
    try:
        path = cached_file(
            name, file, _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_connection_errors=False,
        )  # fmt: skip
    except (OSError, ValueError):
        return None
    return None if path is None else Path(path)


def _in_card(path: Path) -> Licence | None:
    try:
        data: dict[str, Any] = ModelCard.load(path, ignore_metadata_errors=True).data.to_dict()
    except Exception:  # a damaged file can raise anything
        return None
    name = _first(data.get("license"))
    if not name:
        return None
    if name != OTHER:
        return Licence(name)
    return Licence(OTHER, _first(data.get("license_name")), _first(data.get("license_link")))


def _first(value: Any) -> str:
    """A text of the front matter, or the first of several."""
    values = value if isinstance(value, list) else [value]
    return str(values[0]).strip() if values and values[0] else ""


def _in_file(path: Path) -> Licence:
    head = path.read_text(encoding="utf-8", errors="replace")[:HEAD_LEN]
    words = " ".join(head.split()).lower()
    for pattern, name in _KNOWN.items():
        if re.search(pattern, words):
            return Licence(name)
    return Licence(OTHER, _slug(head.splitlines()), path.name)


def _slug(lines: Iterable[str]) -> str:
    """The first line with words, as a name on the hub.

    >>> _slug(["", "# Acme Model License, v1.0"])
    'acme-model-license-v1.0'
    """
    title = next((line for line in lines if re.search(r"\w", line)), OTHER)
    return "-".join(re.findall(r"[\w.]+", title.lower()))[:NAME_LEN]
