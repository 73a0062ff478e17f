"""Turns docstring examples (`>>>`) into code blocks for the reference; as prose they would be quotations."""

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"^>>> .*?(?=\n[ \t]*\n|\Z)", re.M | re.S)


class Examples(griffe.Extension):
    """Puts each example between fences, once."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of the object."""
        if obj.docstring and "```" not in obj.docstring.value:
            obj.docstring.value = EXAMPLE.sub(
                lambda example: f"```pycon\n{example[0]}\n```", obj.docstring.value
            )
