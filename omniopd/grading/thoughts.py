"""Responses of models that think first."""

import re

_TAG = re.compile(r"<(/?)think(?:ing)?>", re.IGNORECASE)


def without_thought(response: str) -> str:
    """The text after the last closed thought; empty if a later thought is not closed.

    The opening tag may be missing, as some chat templates put it into the prompt.

    >>> without_thought("<think>5? No, 6.</think>It is 6."), without_thought("5? No.</think>6"), without_thought("6")
    ('It is 6.', '6', '6')
    """
    begin, is_open = 0, False
    for tag in _TAG.finditer(response):
        is_open = not tag[1]
        begin = begin if is_open else tag.end()
    return "" if is_open else response[begin:]
