"""Pages as text: filled templates with inlined styles and scripts, which may fetch and run nothing else."""

import base64
import gzip
import hashlib
import json
import math
from collections.abc import Sequence
from functools import lru_cache, partial
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

PACKAGE = "omniopd.report.page"
STYLES = ("vendor/uplot/uPlot.min.css", "assets/page.css")


def rendered(template: str, *, scripts: Sequence[str], payloads: dict[str, Any], **values: Any) -> str:
    """A page: the template with its values, the styles, the scripts in their order, and the payloads as data.

    The page's policy allows no fetch, and only these scripts, by their digests: markup in a model's output would do
    nothing even if it were not escaped.
    """
    style = "\n".join(map(asset, STYLES))
    code = "\n".join(map(asset, scripts))
    return _environment().get_template(template).render(
        style=style, code=code, policy=policy(style, code),
        payloads={name: packed(value) for name, value in payloads.items()},
        **values,
    )  # fmt: skip


def policy(style: str, code: str) -> str:
    """The Content-Security-Policy of a page with that style and that code."""
    return (
        f"default-src 'none'; script-src '{_digest(code)}'; style-src '{_digest(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def packed(value: Any) -> str:
    """Data as base64 of gzip of JSON: about an eighth of the JSON, and free of characters of markup."""
    to_json = partial(json.dumps, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        text = to_json(value)
    except ValueError:  # rare, and checking each of a million values takes as long as all the rest
        text = to_json(finite(value))
    return base64.b64encode(gzip.compress(text.encode(), compresslevel=6, mtime=0)).decode()


def finite(value: Any) -> Any:
    """The same with None for NaN and infinity, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: finite(item) for name, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list) else value


@lru_cache
def asset(name: str) -> str:
    """The text of a file of this package."""
    return files(PACKAGE).joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@lru_cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader(PACKAGE, "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
