"""Where log lines go: the run's log file, not the screen."""

import contextlib
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect.logging.configuration import setup_logging

FORMAT = "%(asctime)s %(levelname)-7s %(name)s  %(task_run_name)s  %(message)s"


class _File(logging.FileHandler):
    """A file whose full disk neither stops a run nor fills the screen: the run's own files will say so."""

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            super().flush()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


@contextmanager
def logged_to(path: Path) -> Iterator[None]:
    """Write the log lines of the block to a file; handlers that print are taken off for good."""
    path = path.absolute()
    if any(isinstance(h, logging.FileHandler) and h.baseFilename == str(path) for h in logging.root.handlers):
        yield  # whoever started the flow sees to it
        return
    setup_logging()
    loggers = [logging.getLogger(), *map(logging.getLogger, logging.root.manager.loggerDict)]
    for logger in loggers:
        for handler in filter(_prints, list(logger.handlers)):
            logger.removeHandler(handler)
    for name in ("omniopd", "flows"):
        logging.getLogger(name).setLevel(logging.INFO)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = _File(path, encoding="utf-8")
    file.setFormatter(logging.Formatter(FORMAT, defaults={"task_run_name": ""}))
    # A logger that does not pass its lines up, as Prefect's, is given the file itself.
    owners = [logger for logger in loggers if logger.name == "root" or not logger.propagate]
    for logger in owners:
        logger.addHandler(file)
    try:
        yield
    finally:
        # Lines on their way to the server are sent while it still answers.
        for logger in loggers:
            for handler in logger.handlers:
                handler.flush()
        for logger in owners:
            logger.removeHandler(file)
        file.close()


def _prints(handler: logging.Handler) -> bool:
    return isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler)
