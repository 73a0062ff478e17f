"""Cards as Markdown, from the templates of this package."""

from functools import lru_cache
from typing import Any

from huggingface_hub.repocard_data import CardData
from jinja2 import Environment, PackageLoader, StrictUndefined

from omniopd.redaction import redacted


def rendered(template: str, data: CardData, **values: Any) -> str:
    """A card: its front matter, and the template with its values. Protected keys are masked."""
    text = _environment().get_template(template).render(front_matter=data.to_yaml(), **values)
    return redacted(text)


def cell(text: object) -> str:
    """A text in a cell of a table.

    >>> cell("a|b\\nc")
    'a\\\\|b c'
    """
    return " ".join(str(text).split()).replace("|", r"\|")


@lru_cache
def _environment() -> Environment:
    # Markdown, not HTML: nothing is escaped.
    environment = Environment(
        loader=PackageLoader("omniopd.export", "templates"), autoescape=False, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters["cell"] = cell
    return environment
