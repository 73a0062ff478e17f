"""Whether code that comes with a model may run in this process: only if params.yaml allows it."""

_allowed = False


def allow_code(allowed: bool) -> None:
    """Allow or forbid it, from now on."""
    global _allowed
    _allowed = allowed


def code_is_allowed() -> bool:
    """The last setting; by default False."""
    return _allowed
