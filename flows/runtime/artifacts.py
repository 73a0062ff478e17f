"""What a run shows in Prefect's pages: its progress, accuracies, MLflow run, report and summary."""

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from prefect import artifacts
from prefect.context import FlowRunContext

from flows.runtime.outcome import CLIENT_ERRORS
from omniopd.data.metrics import ACCURACY

log = logging.getLogger(__name__)

EVERY_S = 2.0  # between two updates of the progress


class Pages:
    """The artifacts of one run, under keys that a resumed run updates. Outside of a flow run nothing is shown.

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
            create = artifacts.create_progress_artifact
            self._progress = _shown(create, share, self.key("progress"), f"{total} rounds")
        else:
            _shown(artifacts.update_progress_artifact, self._progress, progress=share)

    def accuracies(self, rounds: Sequence[Mapping[str, float]]) -> None:
        """Show the accuracy of each validation so far; rounds: their metrics."""
        table = [{"round": row["round"], "greedy": row[ACCURACY]} for row in rounds if ACCURACY in row]
        _shown(artifacts.create_table_artifact, table, self.key("accuracy"), "Accuracy, by round")

    def evaluation(self, record: Mapping[str, Any]) -> None:
        """Show the held-out accuracies before and after training."""
        rows = [
            {
                "prompts": "held-out", "how": how, "before": record["before"][how]["accuracy"],
                "after": record["after"][how]["accuracy"], "95% interval after": record["after"][how]["interval"],
            }
            for how in record["after"] if "accuracy" in record["after"][how]
        ]  # fmt: skip
        title = "Accuracy on the held-out prompts"
        _shown(artifacts.create_table_artifact, rows, self.key("evaluation"), title)

    def benchmarks(self, records: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Show the results of benchmarks, by model; nothing if there are none."""
        rows = [
            {
                "benchmark": record["benchmark"], "model": model, "Pass@1": record["mean"],
                "95% interval": record["interval"], "items": record["num_items"], "cut": record["cut_share"],
                "tokens": record["mean_tokens"],
            }
            for model, of_model in records.items() for record in of_model
        ]  # fmt: skip
        if rows:
            _shown(artifacts.create_table_artifact, rows, self.key("benchmarks"), "Benchmark results")

    def link(self, address: str) -> None:
        """Link to the run in MLflow; nothing if the address is empty."""
        if address:
            _shown(artifacts.create_link_artifact, address, "MLflow run", self.key("mlflow"))

    def report(self, address: str) -> None:
        """Link to the report of the run, in MLflow or as a file."""
        _shown(artifacts.create_link_artifact, address, "Report of the run", self.key("report"))

    def summary(self, markdown: str) -> None:
        """Show the summary of the run."""
        _shown(artifacts.create_markdown_artifact, markdown, self.key("summary"), "Summary")


def _shown(create: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if FlowRunContext.get() is None:
        return None
    try:
        return create(*args, **kwargs)
    except CLIENT_ERRORS:  # a page that cannot be written does not stop a run
        log.warning("Prefect did not accept an artifact", exc_info=True)
        return None
