"""Whether code that comes with a model may run in this process: not unless params.yaml says so."""

_allowed = False


def allow_code(allowed: bool) -> None:
    """Say whether it may, from now on."""
    global _allowed
    _allowed = allowed


def code_is_allowed() -> bool:
    """What was said last; no, where nothing was."""
    return _allowed
