"""What a run shows in Prefect's pages: how far it is, its accuracies, its MLflow run, and what it came to."""

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import httpx
from prefect import artifacts
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectException

log = logging.getLogger(__name__)

EVERY_S = 2.0  # between two messages about progress
FAILURES = (httpx.HTTPError, PrefectException)  # a page that cannot be written stops no run


class Pages:
    """The artifacts of one run, by keys that its later runs continue. Outside of a flow run there are none.

    >>> Pages("omniopd-fork-0").key("progress")
    'omniopd-fork-0-progress'
    """

    def __init__(self, name: str):
        self._name = name
        self._progress: UUID | None = None
        self._next = 0.0

    def key(self, what: str) -> str:
        """What Prefect calls an artifact: lower-case letters, digits and dashes."""
        return re.sub(r"[^a-z0-9]+", "-", f"{self._name}-{what}".lower()).strip("-")

    def progress(self, done: int, total: int) -> None:
        """Show how many of the rounds are done."""
        now = time.monotonic()
        if done < total and now < self._next:
            return
        self._next = now + EVERY_S
        share = 100.0 * done / total
        if self._progress is None:
            description = f"{total} rounds"
            self._progress = _shown(
                lambda: artifacts.create_progress_artifact(share, self.key("progress"), description)
            )
        else:
            known = self._progress
            _shown(lambda: artifacts.update_progress_artifact(known, progress=share))

    def accuracies(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Show what each validation or evaluation so far came to."""
        _shown(
            lambda: artifacts.create_table_artifact(
                [dict(row) for row in rows], self.key("accuracy"), "Accuracy, by round"
            )
        )

    def evaluation(self, record: Mapping[str, Any]) -> None:
        """Show the held-out accuracies of a run, before and after it."""
        rows = [
            {
                "prompts": "held-out", "how": how, "before": record["before"][how]["accuracy"],
                "after": record["after"][how]["accuracy"], "95% interval after": record["after"][how]["interval"],
            }
            for how in record["after"] if "accuracy" in record["after"][how]
        ]  # fmt: skip
        _shown(
            lambda: artifacts.create_table_artifact(
                rows, self.key("evaluation"), "Accuracy on the held-out prompts"
            )
        )

    def benchmarks(self, measured: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Show what benchmarks came to, by model; nothing where there were none."""
        rows = [
            {
                "benchmark": record["benchmark"], "model": model, "Pass@1": record["mean"],
                "95% interval": record["interval"], "items": record["num_items"], "cut": record["cut_share"],
                "tokens": record["mean_tokens"],
            }
            for model, own in measured.items() for record in own
        ]  # fmt: skip
        if rows:
            _shown(
                lambda: artifacts.create_table_artifact(
                    rows, self.key("benchmarks"), "What benchmarks came to"
                )
            )

    def link(self, address: str) -> None:
        """Show where the run lies in MLflow."""
        if address:
            _shown(lambda: artifacts.create_link_artifact(address, "MLflow run", self.key("mlflow")))

    def report(self, address: str) -> None:
        """Show where the report of the run lies: in MLflow, or else as a file."""
        _shown(lambda: artifacts.create_link_artifact(address, "Report of the run", self.key("report")))

    def summary(self, markdown: str) -> None:
        """Show what the run came to."""
        _shown(lambda: artifacts.create_markdown_artifact(markdown, self.key("summary"), "What it came to"))


def _shown(create: Callable[[], Any]) -> Any:
    if FlowRunContext.get() is None:
        return None
    try:
        return create()
    except FAILURES:
        log.warning("Prefect did not take an artifact", exc_info=True)
        return None
