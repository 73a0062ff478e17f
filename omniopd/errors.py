"""Errors that the user can fix. Each message says where the problem is, what it is, and what to do.

The command line prints these as they are, without a traceback, and exits with 2.
"""


class OmniOPDError(Exception):
    """Base of every error that names its own remedy."""


class ConfigError(OmniOPDError, ValueError):
    """params.yaml, or a setting given on the command line, cannot be used."""


class DataError(OmniOPDError, ValueError):
    """A file of prompts or records is missing, broken, or has invalid content."""


class ModelError(OmniOPDError, ValueError):
    """A model directory or its tokenizer cannot be used."""


class AdapterError(ModelError):
    """An adapter cannot be added to a model, or does not match train.lora."""


class TeacherError(OmniOPDError, RuntimeError):
    """The teacher does not answer in the way that the method needs."""


class BudgetError(OmniOPDError, RuntimeError):
    """The budget of the teacher is exhausted."""


class ProcessError(OmniOPDError, RuntimeError):
    """A child process ended without finishing its work."""


class RunError(OmniOPDError, RuntimeError):
    """A run directory is in use by another process, or contains files of another run."""


class TrackingError(OmniOPDError, RuntimeError):
    """MLflow does not answer."""


class HubError(OmniOPDError, RuntimeError):
    """The Hugging Face hub does not answer, or refuses."""


class DiskError(OmniOPDError, OSError):
    """A disk is full or not writable."""


REASON_LEN = 240  # characters of a library's error in a message


def one_line(error: BaseException) -> str:
    """The text of an error in one printable line of at most REASON_LEN characters, or its type if it has none.

    >>> one_line(ValueError("no such key:\n  'a'."))
    "no such key: 'a'"
    """
    text = "".join(char if char.isprintable() else " " for char in str(error))
    line = " ".join(text.split()).rstrip(".") or type(error).__name__
    return line if len(line) <= REASON_LEN else f"{line[: REASON_LEN - 1]}…"
