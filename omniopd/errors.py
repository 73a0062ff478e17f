"""Errors that the user can fix. Each message says where, what was found, and what to do.

The command line prints these as they are, without a traceback, and exits with 2.
"""


class OmniOPDError(Exception):
    """Base of every error that names its own remedy."""


class ConfigError(OmniOPDError, ValueError):
    """params.yaml, or a setting given on the command line, cannot be used."""


class DataError(OmniOPDError, ValueError):
    """A file of prompts or records is missing, broken, or holds what it must not."""


class ModelError(OmniOPDError, ValueError):
    """A model directory or its tokenizer cannot be used."""


class AdapterError(ModelError):
    """An adapter cannot be added to a model, or is another than train.lora describes."""


class TeacherError(OmniOPDError, RuntimeError):
    """The teacher did not answer as the method needs it to."""


class BudgetError(OmniOPDError, RuntimeError):
    """What may be spent on the teacher is spent."""


class ProcessError(OmniOPDError, RuntimeError):
    """A process that was started for a piece of work ended without doing it."""


class RunError(OmniOPDError, RuntimeError):
    """A run directory is held by another process, or holds what this run did not make."""


class TrackingError(OmniOPDError, RuntimeError):
    """MLflow was asked, and did not answer."""


class DiskError(OmniOPDError, OSError):
    """A disk is full, or does not let itself be written."""


REASON_LEN = 240  # characters of a library's error in a message


def one_line(error: BaseException) -> str:
    """What an error says, in one printable line of at most REASON_LEN characters; its kind where it says nothing.

    >>> one_line(ValueError("no such key:\n  'a'."))
    "no such key: 'a'"
    """
    text = "".join(char if char.isprintable() else " " for char in str(error))
    line = " ".join(text.split()).rstrip(".") or type(error).__name__
    return line if len(line) <= REASON_LEN else f"{line[: REASON_LEN - 1]}…"
