"""Log lines go to the run's log file, not to the screen."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prefect.logging.configuration import setup_logging

FORMAT = "%(asctime)s %(levelname)-7s %(name)s  %(task_run_name)s  %(message)s"


class _File(logging.FileHandler):
    """A log file that ignores a full disk, which the run's other files report."""

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()

    def close(self) -> None:
        with suppress(OSError):
            super().close()

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


@contextmanager
def logged_to(path: Path) -> Iterator[None]:
    """Write the log lines of the block to a file; handlers that print are removed for good."""
    path = path.absolute()
    if any(isinstance(h, logging.FileHandler) and h.baseFilename == str(path) for h in logging.root.handlers):
        yield  # the command that started the flow has opened it
        return
    setup_logging()
    loggers = [logging.getLogger(), *map(logging.getLogger, logging.root.manager.loggerDict)]
    for logger in loggers:
        for handler in list(logger.handlers):
            if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
                logger.removeHandler(handler)
    for name in ("omniopd", "flows"):
        logging.getLogger(name).setLevel(logging.INFO)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = _File(path, encoding="utf-8")
    file.setFormatter(logging.Formatter(FORMAT, defaults={"task_run_name": ""}))
    # Loggers that do not propagate, such as Prefect's, need the handler too.
    owners = [logger for logger in loggers if logger.name == "root" or not logger.propagate]
    for logger in owners:
        logger.addHandler(file)
    try:
        yield
    finally:
        # Queued lines are sent to the server while it still answers.
        for logger in loggers:
            for handler in logger.handlers:
                handler.flush()
        for logger in owners:
            logger.removeHandler(file)
        file.close()
